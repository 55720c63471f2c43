"""The `vitrine` command: what it prints, its exit statuses, and that an error is one sentence."""

import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import pytest
import trustme
from click.testing import CliRunner, Result
from client.scripted import LAYERS, ScriptedServer, fail, running
from PIL import Image

from vitrine.client import Client, Limits, Model, TrainingFacts, report
from vitrine.client.cli import main
from vitrine.model import DIGITS, DIGITS_INPUT, prepare

Run = Callable[..., Result]


@pytest.fixture
def run(scripted: ScriptedServer) -> Run:
    """Runs the command against the scripted server."""

    def command(*arguments: Any, **environment: str) -> Result:
        environment = {"VITRINE_TARGET": scripted.target} | environment
        return CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments])

    return command


@pytest.fixture
def drawings(tmp_path: Path) -> list[Path]:
    """Two PNG files with a bar each."""
    paths = []
    for name, width in (("thin.png", 3), ("thick.png", 12)):
        paper = np.full((40, 40), 255, np.uint8)
        paper[5:35, 10 : 10 + width] = 0
        paths.append(tmp_path / name)
        Image.fromarray(paper).save(paths[-1])
    return paths


def test_classify_prints_a_line_for_each_image(run: Run, drawings: list[Path]) -> None:
    result = run("classify", *drawings)
    assert result.exit_code == 0
    assert result.stdout == "".join(f"{path}  {prepare(path)[0, 0] % 10}  100.0%\n" for path in drawings)


def test_the_limit_of_pixels_can_be_set(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (1500, 1000), 255).save(path)
    assert run("classify", path).exit_code == 0
    for result in (
        run("classify", path, "--max-image-megapixels", 1),
        run("classify", path, VITRINE_CLIENT_MAX_IMAGE_MEGAPIXELS="1"),
    ):
        assert result.exit_code == 1
        assert "is 1500 × 1000; at most 1,000,000 pixels are decoded: scale it down" in result.stderr


def test_classify_says_of_what_is_no_digit_that_it_is_none(
    run: Run, drawings: list[Path], scripted: ScriptedServer
) -> None:
    seen = [int(prepare(path)[0, 0]) for path in drawings]
    scripted.threshold = min(seen) - 0.5
    result = run("classify", *drawings)
    lines = [
        f"{path}  {novelty % 10}?  100.0%  no digit: novelty {novelty}.00\n"
        for path, novelty in zip(drawings, seen, strict=True)
    ]
    assert result.stdout == "".join(lines)
    scripted.threshold = max(seen) + 0.5
    assert "no digit" not in run("classify", *drawings).stdout


def test_classify_shows_the_pixels_and_a_strip_for_each_layer(run: Run, drawings: list[Path]) -> None:
    lines = run("classify", drawings[0], "--activations").stdout.splitlines()
    assert [line.split()[0] for line in lines[10:15]] == [layer.name for layer in LAYERS]
    assert all(len(line) == 18 for line in lines[1:10])
    assert not any("\x1b" in line for line in lines)


def test_classify_asks_for_activations_only_when_they_are_shown(
    run: Run, drawings: list[Path], scripted: ScriptedServer
) -> None:
    run("classify", drawings[0])
    assert not scripted.requests[-1].HasField("activations")
    run("classify", drawings[0], "--activations")
    assert scripted.requests[-1].activations.all


def test_json_is_one_document(run: Run, drawings: list[Path]) -> None:
    predictions = json.loads(run("classify", *drawings, "--json").stdout)["predictions"]
    assert [entry["image"] for entry in predictions] == [str(path) for path in drawings]
    assert all(len(entry["probabilities"]) == 10 and "activations" not in entry for entry in predictions)
    assert predictions[0]["model"] == {"name": "scripted", "version": "1", "provider": "CPUExecutionProvider"}
    assert {(entry["novelty"], entry["is_digit"]) for entry in predictions} == {(None, None)}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_null_for_a_number_that_isnt_finite(number: float) -> None:
    facts = TrainingFacts("mnist", 7, 20, {"test_accuracy": number, "loss": 0.5}, {})
    model = Model("m", "1", "CPU", LAYERS, DIGITS, Limits(1, 1 << 20, 100), facts, DIGITS_INPUT)
    written = report.to_json({"model": report.model_document(model), "values": [[number, 1.5], (number,)]})
    document = json.loads(written, parse_constant=pytest.fail)
    assert document["model"]["training"]["metrics"] == {"test_accuracy": None, "loss": 0.5}
    assert document["values"] == [[None, 1.5], [None]]


def test_json_has_the_novelty(run: Run, drawings: list[Path], scripted: ScriptedServer) -> None:
    scripted.threshold = 255.0
    (entry,) = json.loads(run("classify", drawings[0], "--json").stdout)["predictions"]
    assert (entry["novelty"], entry["is_digit"]) == (prepare(drawings[0])[0, 0], True)
    assert json.loads(run("inspect", "--json").stdout)["novelty_threshold"] == 255.0


def test_json_has_the_activations_as_lists_when_asked(run: Run, drawings: list[Path]) -> None:
    (entry,) = json.loads(run("classify", drawings[0], "--json", "--activations").stdout)["predictions"]
    assert {name: len(values) for name, values in entry["activations"].items()} == {x.name: x.width for x in LAYERS}


@pytest.mark.parametrize(("count", "figures"), [(1, ["one.png"]), (2, ["one-1.png", "one-2.png"])])
def test_a_plot_is_written_for_each_image(
    count: int, figures: list[str], run: Run, drawings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.client.plot.DPI", 10)  # what is drawn, the drawings' tests look at
    assert run("classify", *drawings[:count], "--plot", tmp_path / "one.png").exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("one*.png")) == figures


def test_the_server_prepares_when_told_to(run: Run, drawings: list[Path], scripted: ScriptedServer) -> None:
    assert run("classify", drawings[0], "--preparation", "server").exit_code == 0
    assert list(scripted.requests[-1].encoded.files) == [drawings[0].read_bytes()]


def test_inspect_prints_the_layers_as_a_table(run: Run) -> None:
    lines = run("inspect").stdout.splitlines()
    assert lines[0] == "scripted 1 on CPUExecutionProvider"
    assert lines[2].split() == ["layer", "kind", "activations", "parameters", "reads"]
    assert [line.split()[0] for line in lines[3:8]] == [layer.name for layer in LAYERS]
    assert lines[8].split() == ["together", "360", "0"]
    assert any(line.startswith("limits    4 images and 1.0 MiB") for line in lines)


def test_inspect_says_from_which_novelty_on_an_image_is_no_digit(run: Run, scripted: ScriptedServer) -> None:
    assert "novelty   unknown to this model: an image that is no digit gets one" in run("inspect").stdout
    scripted.threshold = -4.25
    assert "novelty   above -4.25 an image is no digit\n" in run("inspect").stdout


def test_inspect_prints_json(run: Run) -> None:
    document = json.loads(run("inspect", "--json").stdout)
    assert document["name"] == "scripted"
    first, second, *_ = document["layers"]
    assert first == {
        "name": "input", "kind": "input", "width": 324, "shape": [324], "parameter_count": 0, "reads": "", "inputs": []
    }  # fmt: skip
    assert (second["reads"], second["inputs"]) == ("input", ["input"])
    assert document["input"] == {"name": "pixels", "dtype": "uint8", "shape": [18, 18], "preparation": "ink"}
    assert document["classes"] == list("0123456789")
    assert document["limits"]["max_images"] == 4


def test_a_table_says_how_a_model_was_trained() -> None:
    facts = TrainingFacts("mnist", 7, 20, {"test_accuracy": 0.98765}, {"torch": "2.13.0"})
    model = Model("m", "1", "CPU", LAYERS, DIGITS, Limits(1, 1 << 20, 100), facts, DIGITS_INPUT)
    assert "training  mnist, 20 epochs, seed 7, test_accuracy 0.9877, torch 2.13.0" in report.model_text(model)


def test_health_exits_with_0_when_the_server_serves(run: Run, scripted: ScriptedServer) -> None:
    result = run("health")
    assert (result.exit_code, result.stdout) == (0, f"{scripted.target} is SERVING\n")


def test_health_exits_with_1_when_it_doesnt(run: Run, scripted: ScriptedServer) -> None:
    scripted.serving = False
    result = run("health")
    assert (result.exit_code, result.stdout) == (1, f"{scripted.target} is NOT_SERVING\n")


def test_health_exits_with_1_when_nobody_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.client.cli.Client", functools.partial(Client, retries=0))
    result = run("health", "--target", "localhost:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no server listens at localhost:1: check host and port")


def test_an_error_is_one_sentence_and_status_1(run: Run, scripted: ScriptedServer, drawings: list[Path]) -> None:
    scripted.script = [fail(grpc.StatusCode.NOT_FOUND, "no model is called 'eight'")]
    result = run("classify", drawings[0], "--model", "eight")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no model is called 'eight'\n"


def test_a_missing_image_is_one_sentence_and_status_1(run: Run, drawings: list[Path]) -> None:
    result = run("classify", drawings[0], "missing.png")
    assert result.exit_code == 1
    assert result.stdout.startswith(str(drawings[0]))
    assert result.stderr == "Error: can't read missing.png: No such file or directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["inspect"], ["health"], ["classify", "IMAGE"], ["--help"], ["--version"]])
def test_output_that_cant_be_written_is_one_sentence_and_status_1(
    arguments: list[str], scripted: ScriptedServer, drawings: list[Path]
) -> None:
    program = Path(sys.executable).with_name("vitrine")
    words = [str(drawings[0]) if word == "IMAGE" else word for word in arguments]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [program, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"VITRINE_TARGET": scripted.target},
        )
    assert (ended.returncode, ended.stderr) == (1, "Error: can't write the output: No space left on device\n")


@pytest.mark.parametrize("arguments", [["classify"], ["classify", "--preparation", "none", "a.png"], ["sing"]])
def test_wrong_usage_has_status_2(arguments: list[str], run: Run) -> None:
    assert run(*arguments).exit_code == 2


def test_a_token_comes_from_the_environment(run: Run, scripted: ScriptedServer) -> None:
    run("inspect", VITRINE_TOKEN="secret")
    assert scripted.metadata[0]["authorization"] == "Bearer secret"


def test_an_empty_token_in_the_environment_is_none(run: Run, scripted: ScriptedServer) -> None:
    assert run("inspect", VITRINE_TOKEN="").exit_code == 0
    assert "authorization" not in scripted.metadata[0]


def test_a_token_never_travels_unencrypted(run: Run) -> None:
    result = run("inspect", "--target", "example.org:1", "--token", "secret")
    assert result.exit_code == 1
    assert "unencrypted" in result.stderr


def test_an_authority_means_tls(run: Run, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = authority.issue_cert("localhost")
    key, chain = leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
    with running(grpc.ssl_server_credentials([(key, chain)])) as server:
        assert run("health", "--target", server.target, VITRINE_CLIENT_TLS_CA=str(tmp_path / "ca.pem")).exit_code == 0


def test_the_servers_own_certificate_in_the_environment_isnt_the_clients(run: Run) -> None:
    assert run("health", VITRINE_TLS_CERT="server.pem", VITRINE_TLS_KEY="server.key").exit_code == 0


@pytest.mark.parametrize("command", ["classify", "inspect", "health"])
def test_every_option_has_help(command: str) -> None:
    assert all(option.help for option in main.commands[command].params if isinstance(option, click.Option))
