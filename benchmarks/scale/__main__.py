"""Measures what a call costs, and how long calls wait beside what a simulation foretells.

    python -m benchmarks.scale                       # both, to out/scale.json
    python -m benchmarks.scale --only waiting        # one of them; what the file has of the other stays
    python -m benchmarks.scale.report --write        # docs/scale.md and its picture

Nothing else should run while waiting is measured: the server has one core, and its client another.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine
from benchmarks.harness.rounding import rounded
from benchmarks.scale import PARTS, measuring

HIDDEN_LAYERS = (512, 256)


@click.command()
@click.option("--only", type=click.Choice(PARTS), help="Measure this part alone.")
@click.option("--rounds", default=5, show_default=True, help="Measurements of each load.")
@click.option("--seconds", default=4.0, show_default=True, help="Seconds of each load, after a warm-up.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("out/scale.json"), show_default=True, help="The file."
)
def main(only: str | None, rounds: int, seconds: float, results: Path) -> None:
    """Measure, and write what was found to a file."""
    found: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    found["machine"] = machine("grpcio", "onnxruntime")
    measure = {"costs": measuring.costs, "waiting": measuring.waiting}
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "model.onnx"), HIDDEN_LAYERS)
        for part in [only] if only else PARTS:
            found[part] = {"seconds": seconds, "found": measure[part](model, seconds, rounds)}
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(rounded(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
