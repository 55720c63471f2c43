"""The tutorial is true: its commands run one after the other, and show what the text says."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.serving import running_server

from vitrine.client.cli import main

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


def test_the_tutorial_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocks = re.findall(r"```(python|sh)\n(.*?)```", TUTORIAL, re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") > 6
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = []
    with running_server() as server:  # the bundled model, as `vitrine-server` has it
        for kind, text in blocks:
            if kind == "sh":
                command = [*shlex.split(text)[1:], "--target", server.target]
                result = CliRunner().invoke(main, command, catch_exceptions=False)
                assert result.exit_code == 0, result.output
                printed.append(result.output)
                continue
            code = text.replace("localhost:50051", server.target)
            exec(compile(code, "tutorial.md", "exec"), names)
            printed.append(capsys.readouterr().out)
    shown = dict(enumerate(printed))
    assert re.search(r"four\.png  9\??  [56]\d\.\d%", shown[0])  # "about two thirds"
    assert shown[1].startswith("9 ")
    assert float(shown[2].splitlines()[-1]) < 1e-5  # "nothing but this multiplication"
    assert shown[4].splitlines()[-1] == "True"
    assert "9: score" in shown[5]
    scores, gap, _ = shown[6].splitlines()
    nine, four = map(float, scores.split())
    assert 0 < nine - four < 2  # "close to each other"
    assert float(gap) < 1e-4
    assert shown[7].splitlines()[-1] == "9 → 4"
    assert {path.name for path in tmp_path.iterdir()} == {"examples", "weights.png", "nine.png", "silenced.png"}
