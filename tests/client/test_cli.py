"""The `vitrine` command: what it prints, its exit statuses, and that an error is one sentence."""

import csv
import errno
import functools
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import pytest
import trustme
from click.testing import CliRunner, Result
from client.scripted import LAYERS, ScriptedServer, fail, running, succeed
from PIL import Image
from support.serving import RunningServer, running_server

from vitrine.client import Activations, Client, Limits, Model, TrainingFacts, UsageError, report
from vitrine.client.cli import main
from vitrine.client.cli.classifying import Printed, classify_files, find_images
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
    monkeypatch.setattr("vitrine.client.drawing.plot.DPI", 10)  # what is drawn, the drawings' tests look at
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
    monkeypatch.setattr("vitrine.client.cli.options.Client", functools.partial(Client, retries=0))
    result = run("health", "--target", "localhost:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no server listens at localhost:1: check host and port")


def test_an_error_is_one_sentence_and_status_1(run: Run, scripted: ScriptedServer, drawings: list[Path]) -> None:
    scripted.script = [fail(grpc.StatusCode.NOT_FOUND, "no model is called 'eight'")]
    result = run("classify", drawings[0], "--model", "eight")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no model is called 'eight'\n"


@pytest.fixture
def mixed(drawings: list[Path], tmp_path: Path) -> list[Path]:
    """A good image, a missing one, one that is damaged, and a good one."""
    (tmp_path / "damaged.png").write_bytes(b"no image")
    return [drawings[0], tmp_path / "missing.png", tmp_path / "damaged.png", drawings[1]]


def test_every_file_gets_its_result_or_its_error(run: Run, mixed: list[Path]) -> None:
    result = run("classify", *mixed)
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == [str(mixed[0]), str(mixed[3])]
    missing, damaged = result.stderr.splitlines()
    assert missing == f"Error: can't read {mixed[1]}: No such file or directory"
    assert damaged.startswith(f"Error: {mixed[2]} can't be read as PNG")


def test_json_has_an_entry_for_every_file(run: Run, mixed: list[Path]) -> None:
    result = run("classify", *mixed, "--json")
    assert result.exit_code == 1
    entries = json.loads(result.stdout)["predictions"]
    assert [entry["image"] for entry in entries] == list(map(str, mixed))
    assert ["error" in entry for entry in entries] == [False, True, True, False]
    assert entries[1]["error"] == f"can't read {mixed[1]}: No such file or directory"


def test_a_file_that_the_server_refuses_is_named_and_the_others_are_classified(
    run: Run, mixed: list[Path], server: RunningServer
) -> None:
    files = [path for path in mixed if path.exists()]
    result = run("classify", *files, "--preparation", "server", "--target", server.target)
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == [str(mixed[0]), str(mixed[3])]
    assert result.stderr.startswith(f"Error: {mixed[2]}: the file can't be read as PNG")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["N", "file", "image.png"])
def test_a_refused_file_is_named_though_its_name_is_a_word_of_the_reason(
    run: Run, tmp_path: Path, server: RunningServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"no image")
    result = run("classify", name, "--preparation", "server", "--target", server.target)
    assert result.stderr.startswith(f"Error: {name}: the file can't be read as PNG")


def test_what_was_classified_is_printed_as_json_though_a_later_call_fails(
    run: Run, drawings: list[Path], scripted: ScriptedServer
) -> None:
    second = prepare(drawings[1]).tobytes()

    def refuse_the_second(request: Any, context: grpc.ServicerContext) -> None:
        if request.pixels.data == second:
            fail(grpc.StatusCode.PERMISSION_DENIED, "not any more")(request, context)

    scripted.limits.max_images = 1
    scripted.script = [succeed, refuse_the_second, refuse_the_second]
    result = run("classify", *drawings, "--json")
    assert result.exit_code == 1
    assert [entry["image"] for entry in json.loads(result.stdout)["predictions"]] == [str(drawings[0])]
    assert "not any more" in result.stderr


def test_csv_has_a_row_for_every_file(run: Run, mixed: list[Path]) -> None:
    result = run("classify", *mixed, "--csv")
    assert result.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["image"] for row in rows] == list(map(str, mixed))
    assert [row["label"] for row in rows] == [
        str(prepare(mixed[0])[0, 0] % 10),
        "",
        "",
        str(prepare(mixed[3])[0, 0] % 10),
    ]
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert rows[0]["model"] == "scripted@1"


def test_npz_has_the_predictions_as_arrays(run: Run, mixed: list[Path], tmp_path: Path) -> None:
    result = run("classify", *mixed, "--activations", "--npz", tmp_path / "out.npz")
    assert f"arrays in {tmp_path / 'out.npz'}: images, labels, probabilities, novelty" in result.stderr
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["images"].tolist() == [str(mixed[0]), str(mixed[3])]
        assert arrays["probabilities"].shape == (2, 10)
        assert {f"activations/{layer.name}" for layer in LAYERS} < set(arrays)
        assert arrays["activations/relu_1"].shape == (2, 8)


def test_arrays_that_cant_be_written_are_refused_before_anything_is_sent(
    run: Run, drawings: list[Path], scripted: ScriptedServer, tmp_path: Path
) -> None:
    for path, reason in ((tmp_path / "none" / "out.npz", "No such file or directory"), (tmp_path, "Is a directory")):
        result = run("classify", *drawings, "--npz", path)
        assert result.exit_code == 1
        assert result.stderr == f"Error: can't write the arrays to {path}: {reason}\n"
    assert scripted.requests == []


def test_arrays_of_before_stay_where_a_call_fails(
    run: Run, drawings: list[Path], scripted: ScriptedServer, tmp_path: Path
) -> None:
    (path := tmp_path / "out.npz").write_bytes(b"of before")
    scripted.script = [fail(grpc.StatusCode.PERMISSION_DENIED, "not any more")] * 2
    assert run("classify", *drawings, "--npz", path).exit_code == 1
    assert path.read_bytes() == b"of before"
    scripted.script = []
    assert run("classify", *drawings, "--npz", path).exit_code == 0
    assert path.read_bytes() != b"of before"


@pytest.mark.parametrize("changed", ["classes", "layers"])
def test_arrays_of_two_models_are_one_sentence(
    changed: str, scripted: ScriptedServer, drawings: list[Path], tmp_path: Path
) -> None:
    with Client(scripted.target) as client:
        first, second = client.classify_many(drawings, activations="all")
    second = {
        "classes": replace(second, probabilities=second.probabilities[:3]),
        "layers": replace(second, activations=Activations({}, {})),
    }[changed]
    outcomes, path = [first, second], tmp_path / "out.npz"
    with pytest.raises(UsageError, match=r"out\.npz: another model has taken over meanwhile"):
        classify_files(drawings, outcomes, Printed.TEXT, activations=False, npz=path, plot=None)
    assert not path.exists()


def test_a_folder_means_the_images_in_it(run: Run, drawings: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    for name in ("b.PNG", "a.png", "deeper/c.png", ".hidden.png", ".hidden/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(drawings[0].read_bytes())
    (folder / "notes.txt").write_text("no image")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    result = run("classify", folder)
    names = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert names == [str(folder / name) for name in ("a.png", "b.PNG", "deeper/c.png")]
    assert (result.exit_code, "phone.heic is HEIC, which isn't read" in result.stderr) == (1, True)


def test_a_fifo_in_a_folder_gets_a_sentence_and_the_others_are_classified(
    run: Run, drawings: list[Path], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "camera.png")
    (tmp_path / "disk.png").symlink_to("/dev/zero")
    result = run("classify", tmp_path)
    assert [line.split("  ")[0] for line in result.stdout.splitlines()] == sorted(map(str, drawings))
    assert (result.exit_code, result.stderr.count("only regular files are read")) == (1, 2)


def test_a_folder_without_images_is_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run("classify", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {tmp_path} has no images")


def test_a_folder_for_figures_gets_one_of_each_images_name(
    run: Run, drawings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.client.drawing.plot.DPI", 10)
    same = tmp_path / "other" / drawings[0].name
    same.parent.mkdir()
    same.write_bytes(drawings[0].read_bytes())
    figures = tmp_path / "figures"
    result = run("classify", *drawings, same, "--plot", figures)
    assert result.exit_code == 0
    assert sorted(path.name for path in figures.iterdir()) == ["thick.png", "thin-3.png", "thin.png"]
    assert f"{drawings[0]}: figure in {figures / 'thin.png'}\n" in result.stderr


def test_a_folder_for_figures_that_cant_be_made_is_one_sentence(run: Run, drawings: list[Path]) -> None:
    result = run("classify", drawings[0], "--plot", drawings[1] / "figures")
    assert result.exit_code == 1
    assert f"Error: can't write figures to {drawings[1] / 'figures'}: Not a directory" in result.stderr


def test_models_lists_every_version(run: Run) -> None:
    lines = run("models").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["scripted@2", "*", "scripted@1"]
    assert "FAILED" in lines[0]
    assert "it is cut off" in lines[0]
    (failed, default, _) = json.loads(run("models", "--json").stdout)["models"]
    assert (failed["reason"], default["default"]) == ("it is cut off", True)


@pytest.mark.parametrize("arguments", [[], ["classify"], ["inspect"], ["models"], ["health"]], ids=str)
def test_help_has_a_short_flag(run: Run, arguments: list[str]) -> None:
    assert run(*arguments, "-h").stdout == run(*arguments, "--help").stdout != ""


def test_a_mistyped_variable_is_warned_of(run: Run) -> None:
    result = run("health", VITRINE_TIMOUT="3", VITRINE_TOKENS="tokens.txt", VITRINE_SERVICE_HOST="10.0.0.1")
    assert result.exit_code == 0
    assert result.stderr == "Warning: no command reads VITRINE_TIMOUT: VITRINE_TIMEOUT is meant, perhaps\n"


def command(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command in a process of its own."""
    program = Path(sys.executable).with_name("vitrine")
    words = [str(program), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, check=False, env=os.environ | environment)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp437"])
def test_output_of_an_old_code_page_has_question_marks_and_no_traceback(
    encoding: str, drawings: list[Path], scripted: ScriptedServer
) -> None:
    foreign = drawings[0].rename(drawings[0].with_name("acht-\u516b.png"))
    missing = foreign.with_name("fehlt-\u516b.png")
    settings = {"PYTHONIOENCODING": encoding, "VITRINE_TARGET": scripted.target}
    ended = command("classify", foreign, "--activations", **settings)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"acht-?.png" in ended.stdout
    ended = command("classify", missing, **settings)
    assert (ended.returncode, rb"fehlt-\u516b.png: No such file" in ended.stderr) == (1, True)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "tkagg", ""])
def test_a_figure_is_drawn_whatever_shows_figures_elsewhere(
    backend: str, drawings: list[Path], scripted: ScriptedServer, tmp_path: Path
) -> None:
    settings = {"MPLBACKEND": backend, "VITRINE_TARGET": scripted.target}
    ended = command("classify", drawings[0], "--plot", tmp_path / "figure.svg", **settings)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)
    assert (tmp_path / "figure.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("encoding", "has_blocks"),
    [("cp1252", False), ("latin-1", False), ("cp437", False), ("ascii", False), ("utf-8", True)],
)
def test_activations_are_drawn_in_ascii_where_the_encoding_has_no_blocks(
    encoding: str, has_blocks: bool, drawings: list[Path], scripted: ScriptedServer
) -> None:
    settings = {"PYTHONIOENCODING": encoding, "VITRINE_TARGET": scripted.target}
    ended = command("classify", drawings[0], "--activations", **settings)
    _, *drawing = ended.stdout.decode(encoding).splitlines()
    assert ended.returncode == 0
    for has, edge in ((has_blocks, "│"), (not has_blocks, "|")):
        assert any(edge in line for line in drawing) == has
    assert has_blocks or all(line.isascii() and "?" not in line for line in drawing)


@pytest.mark.parametrize("words", ["explain IMAGE", "parameters linear_1 --unit 3 --image IMAGE"])
@pytest.mark.parametrize(("encoding", "has_blocks"), [("ascii", False), ("cp1252", False), ("utf-8", True)])
def test_what_speaks_for_a_class_and_a_unit_are_drawn_in_ascii_there_too(
    words: str, encoding: str, has_blocks: bool, drawings: list[Path]
) -> None:
    with running_server() as server:  # the scripted one explains nothing
        settings = {"PYTHONIOENCODING": encoding, "VITRINE_TARGET": server.target}
        ended = command(*(drawings[0] if word == "IMAGE" else word for word in words.split()), **settings)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"?" not in ended.stdout
    assert ended.stdout.isascii() != has_blocks


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal")
@pytest.mark.parametrize(("columns", "widths"), [(200, {48}), (80, set(range(9, 48))), (20, {8})])
def test_strips_fit_into_the_terminal(
    columns: int, widths: set[int], drawings: list[Path], scripted: ScriptedServer
) -> None:
    import pty

    shown, terminal = pty.openpty()
    settings = os.environ | {"VITRINE_TARGET": scripted.target, "COLUMNS": f"{columns}", "NO_COLOR": "1"}
    program = Path(sys.executable).with_name("vitrine")
    ended = subprocess.run([program, "classify", drawings[0], "--activations"], stdout=terminal, env=settings)
    os.close(terminal)
    text = os.read(shown, 100_000).decode()
    os.close(shown)
    strips = [line for line in text.splitlines() if "│" in line]
    assert ended.returncode == 0
    assert {len(line.split("│")[1]) for line in strips} <= widths
    assert widths == {8} or max(map(len, strips)) <= columns


@pytest.mark.skipif(os.name == "nt", reason="a home that is no folder")
def test_a_figure_is_drawn_without_a_word_where_the_home_cant_be_written(
    drawings: list[Path], scripted: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings = {"HOME": str(tmp_path / "file" / "home"), "VITRINE_TARGET": scripted.target}
    ended = command("classify", drawings[0], "--plot", tmp_path / "figure.svg", **settings)
    assert ended.returncode == 0
    assert ended.stderr.decode().splitlines() == [f"{drawings[0]}: figure in {tmp_path / 'figure.svg'}"]


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes its output")
@pytest.mark.parametrize("arguments", ["inspect", "health", "models", "classify IMAGE", "classify --json IMAGE"])
def test_a_closed_output_is_one_sentence_and_status_1(
    arguments: str, scripted: ScriptedServer, drawings: list[Path]
) -> None:
    program = Path(sys.executable).with_name("vitrine")
    line = f"'{program}' {arguments.replace('IMAGE', str(drawings[0]))} >&-"
    environment = os.environ | {"VITRINE_TARGET": scripted.target}
    ended = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=environment)
    assert (ended.returncode, ended.stderr) == (1, "Error: can't write the output: standard output is closed\n")


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


@pytest.mark.parametrize(
    "arguments",
    [["classify"], ["classify", "--preparation", "none", "a.png"], ["classify", "--json", "--csv", "a.png"], ["sing"]],
)
def test_wrong_usage_has_status_2(arguments: list[str], run: Run) -> None:
    assert run(*arguments).exit_code == 2


def test_a_token_comes_from_the_environment(run: Run, scripted: ScriptedServer) -> None:
    run("inspect", VITRINE_TOKEN="secret")
    assert scripted.metadata[0]["authorization"] == "Bearer secret"


def test_an_empty_token_in_the_environment_is_none(run: Run, scripted: ScriptedServer) -> None:
    assert run("inspect", VITRINE_TOKEN="").exit_code == 0
    assert "authorization" not in scripted.metadata[0]


def test_an_empty_option_is_no_token_whatever_the_environment_says(run: Run, scripted: ScriptedServer) -> None:
    assert run("inspect", "--token", "", VITRINE_TOKEN="secret").exit_code == 0
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


@pytest.mark.parametrize(("settings", "lines"), [({}, 1), ({"GRPC_VERBOSITY": "INFO"}, 2)], ids=["default", "wanted"])
def test_a_failed_handshake_is_one_sentence_unless_grpcs_notes_are_wanted(
    settings: dict[str, str], lines: int, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    target = scripted.target.replace("localhost", "127.0.0.1")
    words = [sys.executable, "-m", "vitrine.ask", "health", "--tls", "--target", target]
    ended = subprocess.run(words, capture_output=True, check=False, env=os.environ | settings)
    assert ended.returncode == 1
    assert min(ended.stderr.count(b"\n"), 2) == lines
    assert ended.stderr.splitlines()[-1].startswith(b"Error: ")


def test_the_servers_own_certificate_in_the_environment_isnt_the_clients(run: Run) -> None:
    assert run("health", VITRINE_TLS_CERT="server.pem", VITRINE_TLS_KEY="server.key").exit_code == 0


@pytest.mark.parametrize("name", ["classify", "inspect", "models", "health"])
def test_every_option_has_help(name: str) -> None:
    assert all(option.help for option in main.commands[name].params if isinstance(option, click.Option))


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    scan = os.scandir

    def refusing(place: str | Path) -> Any:
        if Path(place).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refusing)
    assert find_images([tmp_path]) == [tmp_path / "a.png", tmp_path / "closed"]
