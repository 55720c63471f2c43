"""Who may import whom, and what a room must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "model": {"model"},
    "training": {"training", "model"},
    "server": {"server", "model", "v1", "oip"},
    "client": {"client", "model", "v1"},
}


def imported_rooms(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("vitrine.")}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_its_neighbours(room: str) -> None:
    files = sorted((ROOT / room / "vitrine" / room).rglob("*.py"))
    assert files
    for file in files:
        assert imported_rooms(file) <= MAY_IMPORT[room], file


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
    "vitrine.server.cli": ["torch", "matplotlib", "sklearn", "onnx", "onnxruntime", "grpc"],
    "vitrine.model": ["torch", "onnx", "onnxruntime", "grpc"],
    "vitrine.server.inference.service": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.security.access": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.security.certificates": ["onnx", "onnxruntime", "grpc", "google.protobuf"],
    "vitrine.server.engine.session": ["grpc"],
    "vitrine.server.process.lifecycle": ["opentelemetry", "pythonjsonlogger"],
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
