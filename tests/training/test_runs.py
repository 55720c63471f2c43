"""`vitrine-train list`, `compare` and `evaluate --model`, on real runs."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vitrine.model import ArtifactError
from vitrine.training import FitConfig, fit, load_dataset
from vitrine.training.cli import main
from vitrine.training.report import Subject, make_report
from vitrine.training.run.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the embedded digits: `small` and `large`."""
    folder = tmp_path_factory.mktemp("runs")
    digits = load_dataset("digits", progress=False)
    for name, hidden in (("small", (8,)), ("large", (16, 8))):
        fit(digits, FitConfig(hidden=hidden, epochs=2, counter_examples=0), folder / name, progress=False)
    return folder


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_runs_are_listed_with_their_results(runs: Path) -> None:
    header, *rows = run("list", runs).output.splitlines()
    assert header.split("  ")[0] == "run"
    assert [Path(row.split()[0]).name for row in rows] == ["large", "small"]
    assert all("digits" in row and "2 of 2" in row and "%" in row for row in rows)


def test_a_comparison_shows_what_differs_and_every_result(runs: Path) -> None:
    lines = run("compare", runs / "small", runs / "large").output.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        *("hidden", "test error", "validation error", "calibration error", "kept epoch", "seconds")
    ]
    assert lines[1].split() == ["hidden", "8", "16,8"]


@pytest.mark.parametrize("command", ["list", "compare"])
def test_a_folder_without_runs_is_explained_in_one_sentence(command: str, tmp_path: Path) -> None:
    ended = run(command, tmp_path)
    assert ended.exit_code == 1
    assert "finished run" in ended.output


def test_damaged_numbers_are_named_and_left_out_of_a_list(runs: Path, tmp_path: Path) -> None:
    for name, text in (("good", (runs / "small" / "metrics.json").read_text()), ("bad", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
    assert len(run("list", tmp_path).output.splitlines()) == 2
    assert "is damaged" in run("compare", tmp_path / "bad").output


def test_an_artifact_is_evaluated_as_its_run_is(runs: Path, tmp_path: Path) -> None:
    artifact, checkpoint = runs / "large" / "model.onnx", Checkpoint.load(runs / "large" / "checkpoint.pt")
    held_out = load_dataset("digits", progress=False).test
    ours, theirs = (
        make_report(subject, held_out, "digits", progress=False).to_dict()
        for subject in (Subject.of_artifact(artifact), checkpoint)
    )
    assert ours["confusion"] == theirs["confusion"]
    assert ours["error"] == theirs["error"]
    said = run("evaluate", "--model", artifact, "--out", tmp_path / "report", "--quiet")
    assert said.exit_code == 0, said.output
    assert (tmp_path / "report" / "REPORT.md").exists()


@pytest.mark.parametrize("words", [(), ("runs/x", "--model", __file__)])
def test_one_of_run_and_model_is_named(words: tuple[str, ...]) -> None:
    assert "either a RUN or an artifact" in run("evaluate", *words).output


def test_a_file_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="isn't a Vitrine artifact"):
        Subject.of_artifact(tmp_path / "model.onnx")
