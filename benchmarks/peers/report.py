"""Tables and a chart of a comparison, for docs/performance.md.

    python -m benchmarks.peers.report [--results out/peers.json]

It copies the measurements to docs/performance.json, draws docs/performance.png, and replaces the tables between the
markers in docs/performance.md.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks.harness.summary import Summary
from benchmarks.peers.results import Measured, Results

DOCS = Path(__file__).parents[2] / "docs"
PAGE, DATA, CHART = DOCS / "performance.md", DOCS / "performance.json", DOCS / "performance.png"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
PICTURE = f"![Calls per second of each server, for each kind of request]({CHART.name})\n"
REFERENCE = "triton"
"""The server that the others are divided by."""

TITLES = {
    "1-plain": "1 image, no layers",
    "1-hidden": "1 image, both hidden layers",
    "64-plain": "64 images, no layers",
    "64-hidden": "64 images, both hidden layers",
}
OURS, THEIRS, TEXT = "#2563eb", "#9ca3af", "#1f2430"

Cell = Callable[[Measured], str]


@click.command()
@click.option(
    "--results",
    type=click.Path(exists=True, path_type=Path),
    default=Path("out/peers.json"),
    show_default=True,
    help="File with the measurements.",
)
def main(results: Path) -> None:
    """Write the tables and the chart into the docs."""
    found = Results.read(results)
    found.write(DATA)
    PAGE.write_text(with_tables(PAGE.read_text(), as_text(found)))
    draw(found, CHART)


def with_tables(page: str, tables: str) -> str:
    """The page with these tables between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{tables}\n{PICTURE}\n{END}{tail}"


def as_text(results: Results) -> str:
    """All tables, in Markdown."""
    reference = results.servers.get(REFERENCE)
    measured = [of_it for of_it in results.servers.values() if of_it.rounds]
    blocks = [_conditions(results)]
    blocks += [
        f"**{title}**, {results.seconds:g} s of a closed loop with 32 calls under way:\n\n"
        + _table(measured, _throughput_columns(load, reference))
        for load, title in TITLES.items()
    ]
    blocks.append("**1 image, no layers**, open loops:\n\n" + _table(measured, _open_loop_columns()))
    speaking = [of_it for of_it in measured if of_it.summary("client-async", "calls_per_second")]
    blocks.append(
        "**256 callers in one Python process**, 1 image each, Vitrine's client or Triton's:\n\n"
        + _table(speaking, _client_columns(reference))
    )
    skipped = [f"- {of_it.title}: not measured: {of_it.skipped}" for of_it in results.servers.values() if of_it.skipped]
    notes = [f"- {of_it.title} {of_it.version}: {of_it.note}" for of_it in measured if of_it.note]
    return "\n\n".join([*blocks, "\n".join([*notes, *skipped])]).rstrip() + "\n"


def _conditions(results: Results) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return f"Machine and versions: {machine}. Each value is the median of its rounds, with the least and the largest."


def _table(servers: Sequence[Measured], columns: dict[str, Cell]) -> str:
    lines = ["| server | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for of_it in servers:
        name = f"{of_it.title} {of_it.version}".rstrip()
        lines.append(f"| {name} | " + " | ".join(cell(of_it) for cell in columns.values()) + " |")
    return "\n".join(lines)


def _throughput_columns(load: str, reference: Measured | None) -> dict[str, Cell]:
    return {
        "calls/s": lambda of_it: _text(of_it.summary(load, "calls_per_second"), 0),
        **_over(reference, load),
        "CPU µs a call": lambda of_it: _text(of_it.summary(load, "cpu_us_per_call"), 0),
        "failed": lambda of_it: _text(of_it.summary(load, "bad"), 0, median_only=True),
        "n": lambda of_it: str(len(of_it.rounds)),
    }


def _over(reference: Measured | None, load: str) -> dict[str, Cell]:
    if reference is None or not reference.rounds:
        return {}
    return {"over Triton": lambda of_it: _text(of_it.ratio(reference, load, "calls_per_second"), 2)}


def _open_loop_columns() -> dict[str, Cell]:
    return {
        "p50 at half of capacity, ms": lambda of_it: _text(of_it.summary("half", "p50_ms"), 2),
        "p99, ms": lambda of_it: _text(of_it.summary("half", "p99_ms"), 2),
        "offered in overload, × capacity": lambda of_it: _text(of_it.summary("overload", "offered_ratio"), 1),
        "good, × capacity": lambda of_it: _text(of_it.summary("overload", "goodput_ratio"), 2),
        "p99 of good, ms": lambda of_it: _text(of_it.summary("overload", "p99_ms"), 0),
    }


def _client_columns(reference: Measured | None) -> dict[str, Cell]:
    columns: dict[str, Cell] = {}
    for kind, title in (("async", "tasks"), ("threads", "threads")):
        load = f"client-{kind}"
        columns[f"{title}, calls/s"] = lambda of_it, load=load: _text(  # type: ignore[misc]
            of_it.summary(load, "calls_per_second"), 0
        )
        columns |= {f"{title}, {name}": cell for name, cell in _over(reference, load).items()}
    return columns


def _text(summary: Summary | None, digits: int, *, median_only: bool = False) -> str:
    if summary is None:
        return "–"
    if median_only or summary.n == 1:
        return f"{summary.median:,.{digits}f}"
    return f"{summary.median:,.{digits}f} ({summary.minimum:,.{digits}f}–{summary.maximum:,.{digits}f})"


def draw(results: Results, path: Path) -> None:
    """Draws calls per second of all servers, a panel for each kind of request."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    servers = [of_it for of_it in results.servers.values() if of_it.rounds][::-1]
    figure = Figure(figsize=(11, 1.4 + 0.62 * len(servers)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (load, title) in zip(figure.subplots(2, 2, sharey=True).flat, TITLES.items(), strict=True):
        found = [of_it.summary(load, "calls_per_second") for of_it in servers]
        medians = [summary.median if summary else 0.0 for summary in found]
        spread = [
            [median - (summary.minimum if summary else 0.0) for summary, median in zip(found, medians, strict=True)],
            [(summary.maximum if summary else 0.0) - median for summary, median in zip(found, medians, strict=True)],
        ]
        colours = [OURS if of_it.ours else THEIRS for of_it in servers]
        bars = axes.barh([of_it.title for of_it in servers], medians, xerr=spread, color=colours, ecolor=TEXT)
        axes.bar_label(bars, [f"{median:,.0f}" for median in medians], padding=6, fontsize=8, color=TEXT)
        axes.set_title(title, loc="left", fontsize=10, color=TEXT)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=TEXT)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.margins(x=0.18)
    figure.supxlabel("calls per second: median, least and largest", fontsize=9, color=TEXT)
    figure.savefig(path)


if __name__ == "__main__":
    main()
