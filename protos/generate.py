"""Generates the Python stubs beside the .proto files, or checks that they are up to date.

It knows the place of the .proto files, not their content. grpcio-tools is pinned, so that the stubs are the same bytes
on every machine. Its version is old enough that the stubs run on protobuf 6 and 7.
"""

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

TYPING = ("mypy", "mypy_grpc")
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(root: Path, out: Path) -> list[Path]:
    """Writes the stubs of every .proto below `root` into `out`; returns their paths relative to `out`."""
    contracts = sorted(path.relative_to(root) for path in root.rglob("*.proto"))
    arguments = ["protoc", f"-I{root}", f"-I{files('grpc_tools') / '_proto'}"]
    arguments += [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).with_name(f'protoc-gen-{name}')}" for name in TYPING
    ]
    arguments += [f"--{name}_out=quiet:{out}" for name in TYPING]
    arguments += [f"--python_out={out}", f"--grpc_python_out={out}", *map(str, contracts)]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    return [contract.with_name(contract.stem + suffix) for contract in contracts for suffix in STUB_SUFFIXES]


def out_of_step(root: Path) -> list[Path]:
    """The stubs below `root` that differ from newly generated ones."""
    with tempfile.TemporaryDirectory() as scratch:
        stubs = generate(root, Path(scratch))
        return [s for s in stubs if not (root / s).exists() or not filecmp.cmp(root / s, Path(scratch) / s, False)]


def main() -> None:
    """Generates or checks, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder of the .proto files")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a stub is out of date")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(arguments.root, arguments.root)
    elif stale := out_of_step(arguments.root):
        sys.exit(f"stubs are out of date, run `make protos`: {', '.join(map(str, stale))}")


if __name__ == "__main__":
    main()
