"""The rooms of the house: which may import which, and what a room must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.arrows import Floors, Source

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "model": {"model"},
    "training": {"training", "model"},
    "server": {"server", "model", "v1", "oip"},
    "client": {"client", "model", "v1"},
    "bulk": {"bulk", "server", "client", "model"},
}
AND_THE_CLIENT = ROOT / "server" / "vitrine" / "server" / "in_process.py"
"""The one module of the server that knows the client: it gives a client of a server in its own process."""


def imported_roots(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("vitrine.")}


@pytest.mark.parametrize("root", MAY_IMPORT)
def test_a_source_root_imports_only_its_neighbours(root: str) -> None:
    files = sorted((ROOT / root / "vitrine" / root).rglob("*.py"))
    assert files
    for file in files:
        allowed = MAY_IMPORT[root] | ({"client"} if file == AND_THE_CLIENT else set())
        assert imported_roots(file) <= allowed, file


FLOORS: dict[str, Floors] = {
    "server": [
        ["errors", "observers", "bundled", "files", "temporary_folder"],
        ["ranges", "threads"],
        ["models"],
        ["security"],
        ["engine"],
        ["preparation", "capture"],
        ["inference"],
        ["telemetry"],
        ["protocols"],
        ["frontends"],
        ["service_config"],
        ["opening"],
        ["process", "ray_serve"],
        ["cli", "in_process"],
        [""],
    ],
    "training": [
        ["errors", "randomness", "markdown", "pens", "drawn"],
        ["lengths"],
        ["files"],
        ["data"],
        ["network"],
        ["rendering"],
        ["examples"],
        ["run"],
        ["report"],
        [""],
        ["cli"],
    ],
    "model": [
        ["errors", "labels", "layers", "digits"],  # digits: the shape that both sides have by default, two constants
        ["graph", "statistics", "answer", "preparation", "distribution", "output", "variables", "drawing"],
        ["catalogue", "tolerance"],
        ["artifact"],
        [""],
    ],
    "bulk": [
        ["chunks"],
        ["sources", "engines"],
        ["results"],
        ["run"],
        ["replay", "on_ray"],
        [""],
        ["cli"],
    ],
    "client": [
        ["advice", "drawable", "image_files"],
        ["errors", "types"],
        ["target", "interventions", "resending"],
        ["catalogue", "connection", "drawing"],
        ["environment"],
        ["wire"],
        ["plan", "parameter_parts"],
        ["batches"],
        ["tracing", "report", "tables"],
        ["base"],
        ["asking", "gathering", "sync_resending"],
        ["sync_gathering", "async_gathering"],
        ["sync_client", "async_client"],
        [""],
        ["cli"],
    ],
}
"""The rooms of each source root, lowest first. A room may import those below it, and none beside it."""


@pytest.fixture(scope="module", params=FLOORS)
def source(request: pytest.FixtureRequest) -> Source:
    root = str(request.param)
    read = Source.read(ROOT / root, f"vitrine.{root}")
    assert len(read.modules) > 10
    assert len(read.arrows) > 10
    return read


def test_a_room_imports_only_rooms_below_it(source: Source) -> None:
    assert source.forbidden(FLOORS[source.package.rpartition(".")[2]]) == []


def test_no_modules_import_each_other_in_a_circle(source: Source) -> None:
    assert source.circles() == []


def planted(root: Path, **files: str) -> Source:
    """A package `house` of these modules."""
    for name, text in files.items():
        file = root / "house" / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Source.read(root, "house")


GOOD = {"attic__roof": "from house.cellar import wine", "cellar__wine": "import os"}
HOUSE: Floors = [["cellar"], ["attic"]]


@pytest.mark.parametrize(
    "arrow",
    [
        "from house.attic import roof",
        "import house.attic.roof",
        "def later():\n    from house.attic.roof import tile",
        "if TYPE_CHECKING:\n    from house.attic.roof import tile",
    ],
)
def test_an_arrow_that_goes_up_is_found(tmp_path: Path, arrow: str) -> None:
    assert planted(tmp_path / "good", **GOOD).forbidden(HOUSE) == []
    bad = planted(tmp_path / "bad", **GOOD, cellar__beer=arrow)
    assert bad.forbidden(HOUSE) == ["house.cellar.beer imports house.attic.roof"]


def test_a_room_on_no_floor_is_found(tmp_path: Path) -> None:
    assert planted(tmp_path, **GOOD, shed="").forbidden(HOUSE) == ["shed is on no floor"]


@pytest.mark.parametrize("back", ["from house.attic import roof", "if TYPE_CHECKING:\n    import house.attic.roof"])
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    assert planted(tmp_path / "good", **GOOD).circles() == []
    bad = planted(tmp_path / "bad", **GOOD | {"cellar__wine": "from house.cellar import beer"}, cellar__beer=back)
    assert bad.circles() == [["house.attic.roof", "house.cellar.beer", "house.cellar.wine"]]


def test_the_two_protocols_do_not_know_each_other() -> None:
    source = Source.read(ROOT / "server", "vitrine.server.protocols")
    assert {"v1", "oip"} <= {source.room_of(module) for module in source.modules}
    shared = ["compression", "encoding", "endpoint", "field_count", "metadata", "status", "templates"]
    assert source.forbidden([shared, ["decoding"], ["v1", "oip", "health", "reflection"], ["services"], [""]]) == []


HEAVY = {
    "vitrine.client": [
        "torch",
        "onnx",
        "onnxruntime",
        "matplotlib",
        "click",
        "sklearn",
        "vitrine.oip",
        "opentelemetry",
    ],
    "vitrine.client.cli": ["torch", "onnx", "onnxruntime", "matplotlib", "vitrine.oip"],
    "vitrine.bulk.cli": ["torch", "onnx", "onnxruntime", "matplotlib", "pyarrow", "tqdm", "ray"],  # `vitrine` loads it
    "vitrine.server.cli": ["torch", "matplotlib", "sklearn", "onnx", "onnxruntime", "grpc", "pyarrow"],
    "vitrine.model": ["numpy", "PIL", "torch", "onnx", "onnxruntime", "grpc"],
    "vitrine.model.artifact": ["PIL", "torch", "onnx", "onnxruntime", "grpc"],
    "vitrine.server.cli.command": ["numpy", "PIL", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.inference.service": ["onnx", "onnxruntime", "grpc", "google.protobuf", "pyarrow"],
    "vitrine.server.capture.capture": ["onnx", "onnxruntime", "grpc", "google.protobuf", "pyarrow"],
    "vitrine.server.security.access": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.security.certificates": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.engine.session": ["grpc"],
    "vitrine.server.process.lifecycle": ["PIL", "click", "opentelemetry", "pythonjsonlogger"],
    "vitrine.server.inference.statistics": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.models.repository": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
}


@pytest.mark.parametrize("module", HEAVY)
def test_a_room_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(set(sys.argv[1:]) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program, *HEAVY[module]], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_the_namespace_has_no_init_of_its_own() -> None:
    assert not list(ROOT.glob("*/vitrine/__init__.py"))
