"""The docs are true: the README's example runs, and settings and constants equal the programs'."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.serving import logged_server, open_log, running_server

from docs import errors
from endurance.memory import BASE_MIB, PENDING_SHARES, USUAL_PENDING_MIB, documented_mib
from vitrine.client import Client
from vitrine.model.preparation import image, paper, parts, photo, ranges, transparency
from vitrine.model.preparation import pipeline as preparation
from vitrine.server.bundled import bundled_model
from vitrine.server.cli import main as server_main
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.call import Outcome
from vitrine.training.cli import main as train_main
from vitrine.training.rendering.nondigits import LOOK_ALIKES

ROOT = Path(__file__).parents[2]
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text()
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DEPLOYMENTS = ("deploy/kserve", "deploy/kubernetes", "deploy/ray")
PAGES = [
    path.relative_to(ROOT) for folder in (".", "docs", *DEPLOYMENTS) for path in sorted((ROOT / folder).glob("*.md"))
]

PROMISED = {
    "client.md": [
        *(r"^9 (9\d|100)\.\d%$", r"^9$", r"^\(1000,\)$", r"^\['8', '9'\]$", r"^score of 9: \d+\.\d, of 4: -?\d+\.\d$"),
        *(r"^4 \d\d\.\d%$", r"^MODEL_UNKNOWN$", r"^examples/nine\.png$", r"^\(2, 256\)$"),
    ],
    "one-layer.md": [
        r"^\d\.\d+e-0[67]$",
        r"^True$",
        r"^\d\d% of the units are off$",
        r"^unit \d+ is at \d\.\d\d$",
        r"^8$",
    ],
}
"""Lines that the code of a page prints, as its comments say."""


def headings_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readmes_example_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    with running_server() as server:  # the bundled model, as `make serve` has it
        monkeypatch.setenv("VITRINE_TARGET", server.target)
        exec(compile(example, "README.md", "exec"), {})
    digit, is_digit, hidden, activations, weight = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"8 (9\d|100)\.\d%", digit)
    assert is_digit == "True"
    assert hidden == "(1000,)"
    assert re.findall(r"(\w+): \d+", activations) == [
        *("input", "linear_1", "relu_1", "linear_2", "relu_2", "linear_3", "relu_3", "linear_4", "softmax")
    ]
    assert weight == "(1000, 324)"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text())
    for link in links:
        if not re.match(r"https?://", link):
            path, _, heading = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), link
            assert not heading or heading in headings_of(target), link


def test_every_page_is_in_the_list_of_pages_with_its_reader() -> None:
    listed = re.findall(r"\]\(([^)\s]+\.md)\)", (ROOT / "docs" / "index.md").read_text())
    found = {(ROOT / "docs" / link).resolve().relative_to(ROOT) for link in listed}
    assert {page for page in PAGES if page.name != "index.md"} <= found


def test_links_are_found() -> None:
    assert len(PAGES) > 10
    assert README.count("](") > 10


@pytest.mark.parametrize("page", ["client.md", "one-layer.md"])
def test_the_code_of_a_page_says_what_its_comments_promise(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert len(blocks) > 4
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    with running_server() as server:
        for block in blocks:  # later ones use what earlier ones have found, as in a notebook
            exec(compile(block.replace("localhost:50051", server.target), page, "exec"), names)
    said = capsys.readouterr().out
    for promised in PROMISED[page]:
        assert re.search(promised, said, re.MULTILINE), promised


async def test_the_architectures_example_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_artifact: Path
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", ARCHITECTURE, re.DOTALL)
    (tmp_path / "model.onnx").write_bytes(tiny_artifact.read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {"pixels": np.zeros((3, 18, 18), np.uint8)}
    code = compile(example, "architecture.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, names)  # a notebook's cell, too, may await
    assert re.fullmatch(r"\[\d \d \d\]\n", capsys.readouterr().out)


def test_the_architectures_modules_are_there() -> None:
    named = set(re.findall(r"`([\w/]+/[\w/]*(?:\.py)?)`", ARCHITECTURE))
    assert len(named) > 20
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "server" / "vitrine" / "server" / path).exists(), path


def test_the_settings_in_the_docs_are_the_servers() -> None:
    shown = CliRunner().invoke(server_main, ["--help"], prog_name="vitrine-server", terminal_width=110).output
    assert shown.strip() in (ROOT / "docs" / "server.md").read_text()


def test_the_errors_in_the_docs_are_the_servers() -> None:
    assert errors.PAGE.read_text() == errors.page()


def test_the_reasons_in_the_contract_are_in_the_docs() -> None:
    contract = (ROOT / "protos" / "vitrine" / "v1" / "classifier.proto").read_text()
    named = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", contract.partition("// - INVALID")[2].partition("service")[0]))
    named -= {outcome.value for outcome in Outcome}
    assert len(named) > 20
    assert named <= errors.MEANINGS.keys()


def test_the_reasons_of_the_service_are_in_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ROOT / "server" / "vitrine" / "server"
    monkeypatch.setattr(errors, "SOURCES", (server / "inference", server / "protocols" / "v1"))
    contract = (ROOT / "protos" / "vitrine" / "v1" / "classifier.proto").read_text().partition("service Classifier")[0]
    sent = errors.reasons().keys() - errors.FIXED.keys()  # what is fixed is the open protocol's
    assert len(sent) > 20
    assert sent <= set(re.findall(r"\b[A-Z_]{3,}\b", contract))


def test_the_memory_in_the_docs_is_what_endurance_tests_give() -> None:
    assert PENDING_SHARES == 4
    said = f"Plan {BASE_MIB} MiB plus four times `--max-pending-mb` for each worker: {documented_mib() / 1024:.1f} GiB"
    assert said in (ROOT / "docs" / "operations.md").read_text()
    assert AdmissionConfig().max_bytes == USUAL_PENDING_MIB << 20


def test_the_evaluations_settings_in_the_docs_are_the_programs() -> None:
    words, name = ("evaluate", "--help"), "vitrine-train"
    shown = CliRunner().invoke(train_main, words, prog_name=name, terminal_width=110).output
    assert shown.strip() in EVALUATION


def test_the_letters_in_the_docs_are_those_that_are_left_out() -> None:
    told = {digit: letters.replace(" ", "") for digit, letters in re.findall(r"\| (\d) \| ([A-Za-z ]+) \|", EVALUATION)}
    assert told == LOOK_ALIKES


def test_the_recipe_in_the_docs_makes_a_token(tmp_path: Path) -> None:
    (recipe,) = re.findall(
        r"```sh\n(vitrine-server token .*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made = [
        subprocess.run(
            ["sh", "-c", recipe], cwd=tmp_path, env={"PATH": path}, capture_output=True, check=True, text=True
        )
        for _ in range(2)
    ]
    with running_server("--tokens", tmp_path / "tokens") as server:
        for token in (run.stdout.strip() for run in made):
            with Client(server.target, token=token) as client:
                assert client.classify(ROOT / "examples" / "eight.png").activations


def test_the_call_in_the_docs_needs_no_grpc() -> None:
    (recipe,) = re.findall(r"```sh\n(curl .*?)```", (ROOT / "docs" / "frontends.md").read_text(), re.DOTALL)
    with open_log() as (pipe, log), logged_server(pipe, "--http-port", "0", VITRINE_FRONTEND="grpc"):
        address = log.wait_for(r"Connect and gRPC-Web are at http://(\S+)")[0]
        recipe = recipe.replace("curl", "curl --silent --fail").replace("localhost:8080", address)
        said = subprocess.run(["sh", "-c", recipe], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert json.loads(said)["digits"] == [8]


def test_the_constants_in_the_docs_are_the_preparations() -> None:
    text = (ROOT / "docs" / "preparation.md").read_text()
    found = re.findall(r"`([A-Z_]+)` = ([\d.,]*\d)", text)
    assert len(found) >= 10
    modules = (preparation, photo, paper, image, parts, ranges, transparency)
    for name, value in found:
        (constant, *_) = (getattr(module, name) for module in modules if hasattr(module, name))
        assert constant == float(value.replace(",", "")), name


def test_the_bundled_model_is_small_and_has_its_card() -> None:
    assert bundled_model().stat().st_size <= 5_000_000
    assert "| test error |" in bundled_model().with_name("MODEL_CARD.md").read_text()


def test_changelog_entries_start_with_the_features_name() -> None:
    entries = re.findall(r"^- (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert len(entries) > 30
    for entry in entries:
        assert entry.startswith("**"), entry
