"""The distribution: its name, its licence, and the sentence for an extra that isn't installed."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from release.dist import PYTHONS
from vitrine.model.distribution import DISTRIBUTION, EXTRAS, version

ROOT = Path(__file__).parents[2]
COMMANDS = {"vitrine-server": ("vitrine.serve", "server"), "vitrine-train": ("vitrine.train", "train")}
CLIENT = "vitrine.ask"
"""The module of the command that needs no extra."""
OF_EXTRAS = sorted({"opentelemetry", "pandas", *(module for modules in EXTRAS.values() for module in modules)})
"""Modules that `pip install vitrine-serving` doesn't bring."""
TEXTS = {".md", ".py", ".toml", ".proto", ".yaml", ".yml", ".json", ".txt", ".cfg"}
WITHOUT_SUFFIX = {"Dockerfile", "Makefile", "LICENSE", "NOTICE"}
MADE = {"build", "dist", "out", "runs"}
"""Folders that are made and not written; .gitignore has them."""
EXTRAS_OF_WORDS = {
    "vitrine-server": "server",
    "vitrine-train": "train",
    "vitrine score": "bulk",
    "vitrine replay": "bulk",
    "serve run": "ray",
    "--local": "server",
    "--ray-workers": "ray",
    "--plot": "plot",
    "--capture": "capture",
    "--http-port": "http",
    "--frontend envoy": "envoy",
    "--otlp-endpoint": "tracing",
    "--tensorboard": "tensorboard",
}
"""The extra that a line of shell with these words needs."""


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def run_without(modules: Iterable[str], command: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Runs the module of a command in a process where these modules aren't installed."""
    program = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(',')));"  # None: can't be imported
        "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    )
    return subprocess.run(
        [sys.executable, "-c", program, ",".join(modules), command, *words], capture_output=True, text=True
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [(), ("--help",)])
def test_a_command_without_its_extra_says_so_in_one_sentence(command: str, words: tuple[str, ...]) -> None:
    module, extra = COMMANDS[command]
    ended = run_without(EXTRAS[extra], module, *words)
    assert ended.returncode == 1
    assert ended.stdout == ""
    (said,) = ended.stderr.splitlines()
    assert said.startswith(f"{command} needs the extra `{extra}`")
    assert said.endswith(f"pip install 'vitrine-serving[{extra}]'")


@pytest.mark.parametrize("command", ["score", "replay"])
def test_the_client_starts_without_the_extra_of_its_further_commands(command: str) -> None:
    helped = run_without(["pyarrow", "tqdm"], CLIENT, command, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    ended = run_without(
        ["pyarrow", "tqdm"], CLIENT, command, "images", *(("--out", "out") if command == "score" else ())
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith("pip install 'vitrine-serving[bulk]'")


@pytest.mark.parametrize("command", COMMANDS)
def test_one_missing_module_of_an_extra_is_named(command: str) -> None:
    ended = run_without(["onnxruntime"], COMMANDS[command][0], "--help")
    assert ended.returncode == 1
    assert "(not found: onnxruntime)" in ended.stderr


@pytest.mark.parametrize(("command", "broken"), [("vitrine-server", "multiprocessing"), ("vitrine-train", "gzip")])
def test_an_import_error_of_another_kind_keeps_its_traceback(command: str, broken: str) -> None:
    ended = run_without([broken], COMMANDS[command][0], "--help")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")
    assert broken in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("classify", "--help"), ("score", "--help")])
def test_the_clients_command_starts_without_any_extra(words: tuple[str, ...]) -> None:
    ended = run_without(OF_EXTRAS, CLIENT, *words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("bulk", ("score", "images", "--out", "scores")),
        ("plot", ("classify", "eight.png", "--plot", "eight.pdf")),
        ("plot", ("explain", "eight.png", "--plot", "eight.pdf")),
        ("plot", ("compare", "eight.png", "nine.png", "--plot", "both.pdf")),
        ("plot", ("parameters", "linear_1", "--unit", "1", "--plot", "unit.pdf")),
    ],
)
def test_a_part_of_the_clients_command_names_its_extra_in_one_sentence(extra: str, words: tuple[str, ...]) -> None:
    ended = run_without(OF_EXTRAS, CLIENT, *words)  # and calls nobody first
    assert (ended.returncode, ended.stdout) == (1, "")
    (said,) = ended.stderr.splitlines()
    assert said.startswith("Error: ")
    assert f"pip install 'vitrine-serving[{extra}]'" in said


@pytest.mark.parametrize(("module", "name"), [("vitrine.bulk", "score"), ("vitrine.server", "embedded")])
def test_a_name_to_import_names_its_extra_in_one_sentence(module: str, name: str) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({OF_EXTRAS})); import {module}; from {module} import {name}"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    extra = module.removeprefix("vitrine.")
    assert ended.stderr.splitlines()[-1].startswith(f"ImportError: {module}.{name} needs the extra `{extra}`")


@pytest.mark.parametrize("module", [CLIENT, *(module for module, _ in COMMANDS.values())])
def test_a_command_says_its_version(module: str) -> None:
    said = run_without((), module, "--version")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip().endswith(f"version {version()}")


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_of_pyproject(extra: str) -> None:
    required = {re.split(r"[<>=]", line)[0] for line in project()["optional-dependencies"][extra]}
    distributions = packages_distributions()
    assert {distributions[module][0].replace("_", "-") for module in EXTRAS[extra]} == required


def test_the_commands_start_where_a_missing_extra_is_looked_for() -> None:
    assert project()["name"] == DISTRIBUTION
    scripts = {name: target for name, target in project()["scripts"].items() if name != "vitrine"}
    assert scripts == {name: f"{module}:main" for name, (module, _) in COMMANDS.items()}


def test_no_file_says_to_install_a_strangers_distribution() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in MADE]
    files = [*ROOT.iterdir(), *(file for folder in folders for file in folder.rglob("*"))]
    texts = [file for file in files if file.is_file() and (file.suffix in TEXTS or file.name in WITHOUT_SUFFIX)]
    assert len(texts) > 100
    stranger = re.compile(r"""(?x)
        pip\ install\s[^\n`]*(?<![\w./-])vitrine(?![\w-])  # pip install 'vitrine[server]'
        | package_name=.vitrine["']
        | \bversion\(.vitrine["']
    """)
    for file in texts:
        if file != Path(__file__):
            found = stranger.search(file.read_text())
            assert found is None, f"{file.relative_to(ROOT)}: {found and found[0]}"


def unmet(block: str) -> list[str]:
    """Lines of a block of shell with the extras that they lack after the last `pip install` above or beside them."""
    installed: set[str] | None = None
    lacking = []
    for line in block.splitlines():
        if install := re.search(r"pip install ['\"](?:vitrine-serving|\.)\[([\w,-]+)\]", line):
            installed = set(install[1].split(","))
        needed = {extra for words, extra in EXTRAS_OF_WORDS.items() if re.search(rf"(?<![\w-]){words}(?![\w-])", line)}
        if installed is not None and (missing := needed - installed):
            lacking.append(f"{line} lacks {', '.join(sorted(missing))}")
    return lacking


def test_pages_install_what_the_commands_below_need() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S)]
    assert sum("pip install" in block for block in blocks) >= 5
    assert [line for block in blocks for line in unmet(block)] == []


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert releases[0] == project()["version"]
    assert releases == sorted(releases, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


def test_the_wheel_is_tried_with_every_python_that_is_promised() -> None:
    promised = [line.rsplit(" ", 1)[1] for line in project()["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert promised == list(PYTHONS)


def test_the_licence_is_apache_2() -> None:
    assert project()["license"] == "Apache-2.0"
    assert not [line for line in project()["classifiers"] if line.startswith("License ::")]  # PEP 639: one or the other
    for name in project()["license-files"]:
        assert (ROOT / name).is_file(), name
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
    assert "MNIST" in (ROOT / "NOTICE").read_text()


def test_the_image_gets_every_file_that_a_wheel_needs() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", project()["readme"], *project()["license-files"]}
    needed |= {package.partition("/")[0] for package in packages}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert needed <= allowed
