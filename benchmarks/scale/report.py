"""The tables and the picture of docs/scale.md, from what was measured and from assumed prices.

    python -m benchmarks.scale.report --core-hour 0.03 --gigabyte 0 --images-per-second 50000
    python -m benchmarks.scale.report --write        # copies the measurements to docs, too

It prints the tables of the parts that were measured. `--write` takes all parts, puts their tables between the markers
in docs/scale.md, and draws docs/scale.png.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.harness.summary import Summary
from benchmarks.scale import PARTS
from benchmarks.scale.cost import Bill, CallCosts, Demand, Prices, bill, fitted
from benchmarks.scale.simulation import Costs, poisson, simulate

DOCS = Path(__file__).parents[2] / "docs"
PAGE, DATA, CHART = DOCS / "scale.md", DOCS / "scale.json", DOCS / "scale.png"
BEGIN, END = "<!-- {}: begin -->\n", "<!-- {}: end -->\n"

HEADER_BYTES = 300
"""An estimate: frames and headers of HTTP/2, TCP and IP, of a call and its answer."""

TITLES = {"grpc": "gRPC", "envoy": "Envoy"}
MEBI = 1 << 20
CALLS = 20_000
"""Simulated calls of each point of the curves."""

CURVE = np.linspace(0.05, 0.94, 19)
"""Shares of the time for which the core is busy."""
P50, P99, TEXT = "#2563eb", "#dc2626", "#1f2430"

Tables = Mapping[str, str]
"""Markdown by the name of its place in the page."""


@click.command()
@click.option(
    "--results", type=click.Path(exists=True, path_type=Path), default=DATA, show_default=True, help="Measurements."
)
@click.option("--images-per-second", default=1_000_000.0, show_default=True, help="Images a second.")
@click.option("--core-hour", default=0.04, show_default=True, help="Dollars for a core for an hour.")
@click.option("--gigabyte", default=0.01, show_default=True, help="Dollars for 10⁹ bytes that leave a machine.")
@click.option("--machine-cores", default=16, show_default=True, help="Cores of a machine.")
@click.option("--machine-gbit", default=12.5, show_default=True, help="10⁹ bits a second of a machine, each way.")
@click.option("--busy", default=0.6, show_default=True, help="Share of cores and network that is planned for.")
@click.option("--write", is_flag=True, help="Write the page, its data and its picture.")
def main(
    results: Path,
    images_per_second: float,
    core_hour: float,
    gigabyte: float,
    machine_cores: int,
    machine_gbit: float,
    busy: float,
    write: bool,
) -> None:
    """Print the tables, or write the page."""
    found = json.loads(results.read_text())
    prices = Prices(core_hour, gigabyte, machine_cores, machine_gbit, busy)
    tables = tables_of(found, images_per_second, prices)
    if not write:
        click.echo("\n".join(tables.values()))
        return
    if missing := [part for part in PARTS if part not in found]:
        raise click.UsageError(f"--write needs all parts; measure: python -m benchmarks.scale --only {missing[0]}")
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(with_tables(PAGE.read_text(), tables))
    draw(found, CHART)


def tables_of(found: Any, images_per_second: float, prices: Prices) -> Tables:
    """The tables of the parts that were measured."""
    tables = {}
    if "costs" in found:
        tables["costs"] = _conditions(found, "costs") + _cost_table(found)
        tables["bill"] = _assumptions(images_per_second, prices) + _bill_table(found, images_per_second, prices)
    if "waiting" in found:
        tables["waiting"] = _conditions(found, "waiting") + _waiting_table(found)
    return tables


def with_tables(page: str, tables: Tables) -> str:
    """The page with these tables between its markers."""
    for name, table in tables.items():
        begin, end = BEGIN.format(name), END.format(name)
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{table}\n{end}{tail}"
    return page


def call_costs(found: Any, frontend: str) -> list[CallCosts]:
    """What calls of a front end cost, by round."""
    loads = [load for load in found["costs"]["found"] if load["frontend"] == frontend]
    return [
        fitted(
            [(load["images"], load["activation_bytes"], spent / 1e6) for load, spent in zip(loads, each, strict=True)]
        )
        for each in zip(*(load["cpu_us"] for load in loads), strict=True)
    ]


def _conditions(found: Any, part: str) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    return f"{machine}; {found[part]['seconds']:g} s each. Median (least–largest) of the rounds.\n\n"


def _cost_table(found: Any) -> str:
    rows = []
    for frontend, title in TITLES.items():
        rounds = call_costs(found, frontend)
        columns = [[costs.call for costs in rounds], [costs.image for costs in rounds]]
        cells = [_text([value * 1e6 for value in column], 1) for column in columns]
        cells.append(_text([costs.byte * MEBI * 1e6 for costs in rounds], 0))
        rows.append([title, *cells, str(len(rounds))])
    return _table(["front end", "µs a call", "µs an image", "µs a MiB of activations", "n"], rows)


def _assumptions(images_per_second: float, prices: Prices) -> str:
    return (
        f"{images_per_second:,.0f} images/s. Assumed: ${prices.core_hour:g} for a core and hour, "
        f"${prices.gigabyte:g} for 10⁹ bytes out, machines of {prices.machine_cores} cores and "
        f"{prices.machine_gbit:g} Gbit/s, {prices.busy:.0%} of both in use.\n\n"
    )


def _bill_table(found: Any, images_per_second: float, prices: Prices) -> str:
    billed = list(bills(found, images_per_second, prices))
    rows = [
        [
            TITLES[frontend],
            f"{demand.images_per_call}",
            title,
            f"{made.cores:,.0f}",
            f"{made.gbit_in:,.1f}",
            f"{made.gbit_out:,.1f}",
            f"{made.machines:,} ({made.bound})",
            f"{made.machine_dollars:,.2f}",
            f"{made.traffic_dollars:,.0f}",
        ]
        for frontend, title, demand, made in billed
    ]
    heads = ["front end", "images a call", "layers", "cores", "Gbit/s in", "Gbit/s out", "machines (for)"]
    table = _table([*heads, "$ an hour, machines", "$ an hour, bytes out"], rows)
    return f"{table}\n{_bytes_beside_machines([(demand, made) for _, _, demand, made in billed])}\n"


def _bytes_beside_machines(made: Sequence[tuple[Demand, Bill]]) -> str:
    times = [
        of_it.traffic_dollars / of_it.machine_dollars
        for demand, of_it in made
        if demand.images_per_call == 64 and demand.activation_bytes
    ]
    return f"In calls of 64 images with layers, bytes cost about {np.mean(times):,.0f} times what the machines cost."


def bills(found: Any, images_per_second: float, prices: Prices) -> Iterator[tuple[str, str, Demand, Bill]]:
    """What each front end takes for calls of one image and of 64, by the layers in an answer."""
    for frontend in TITLES:
        costs = _median(call_costs(found, frontend))
        for load in found["costs"]["found"]:
            if load["frontend"] == frontend and load["images"] in (1, 64):
                images = load["images"]
                others = load["other_bytes"] + HEADER_BYTES
                demand = Demand(images_per_second, images, load["activation_bytes"] // images, others)
                yield frontend, load["activations"], demand, bill(demand, costs, prices)


def _median(rounds: Sequence[CallCosts]) -> CallCosts:
    return CallCosts(*(float(np.median([getattr(costs, name) for costs in rounds])) for name in CallCosts.__slots__))


def _waiting_table(found: Any) -> str:
    rounds = found["waiting"]["found"]
    rows = []
    for place, load in enumerate(each["load"] for each in rounds[0]["loads"]):
        here = [each["loads"][place] for each in rounds]
        rows.append(
            [
                f"{load:.0%}",
                _text([each["busy"] * 100 for each in here], 0),
                *(_text([each[kind]["p50_ms"] for each in here], 2) for kind in ("measured", "simulated")),
                *(_text([each[kind]["p99_ms"] for each in here], 1) for kind in ("measured", "simulated")),
                _text([each["rows_per_run"] for each in here], 1),
                f"{len(here)} × {np.median([each['calls'] for each in here]):,.0f}",
            ]
        )
    heads = ["load", "core busy, %", "p50 measured, ms", "simulated", "p99 measured, ms", "simulated"]
    return _table([*heads, "images a run, simulated", "n: rounds × calls"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (heads, ["---"] + ["---:"] * (len(heads) - 1), *rows)]
    return "\n".join(lines) + "\n"


def _text(values: Sequence[float], digits: int) -> str:
    of_it = Summary.of(values)
    return f"{of_it.median:,.{digits}f} ({of_it.minimum:,.{digits}f}–{of_it.maximum:,.{digits}f})"


def draw(found: Any, path: Path) -> None:
    """Draws the latencies that were measured on the curves that are simulated."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    curves = curve(found)
    for name, colour in (("p50", P50), ("p99", P99)):
        axes.plot(CURVE * 100, curves[name], color=colour, label=f"{name}, simulated")
        busy, medians, spread = _points(found, f"{name}_ms")
        axes.errorbar(busy, medians, spread, fmt="o", color=colour, capsize=4, label=f"{name}, measured")
    axes.set_yscale("log")
    axes.set_xlabel("core busy, %", color=TEXT)
    axes.set_ylabel("latency, ms", color=TEXT)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)


def curve(found: Any) -> Mapping[str, Sequence[float]]:
    """Simulated latencies in milliseconds while the core is busy for the shares of `CURVE`.

    A call costs less CPU time the more come at once: its costs are interpolated between the loads that were measured.
    """
    places = list(zip(*(each["loads"] for each in found["waiting"]["found"]), strict=True))
    measured = [_median_of(place, "busy") for place in places]
    usual = {
        name: [_median_of([of_it["costs"] for of_it in place], name) for place in places] for name in Costs.__slots__
    }
    points: dict[str, list[float]] = {"p50": [], "p99": []}
    for busy in CURVE:
        costs = Costs(*(float(np.interp(busy, measured, usual[name])) for name in Costs.__slots__))
        rows = np.interp(busy, measured, [_median_of(place, "rows_per_run") for place in places])
        each = costs.receive + costs.answer + costs.row + costs.run / rows
        latencies = simulate(poisson(busy / each, CALLS), costs).latencies * 1000
        points["p50"].append(float(np.percentile(latencies, 50)))
        points["p99"].append(float(np.percentile(latencies, 99)))
    return points


def _median_of(values: Sequence[Mapping[str, float]], name: str) -> float:
    return float(np.median([of_it[name] for of_it in values]))


def _points(found: Any, value: str) -> tuple[list[float], list[float], list[list[float]]]:
    """How busy the core was, the medians of what was measured then, and how far the rounds reach below and above."""
    places = list(zip(*(each["loads"] for each in found["waiting"]["found"]), strict=True))
    here = [Summary.of([of_it["measured"][value] for of_it in place]) for place in places]
    below = [of_it.median - of_it.minimum for of_it in here]
    above = [of_it.maximum - of_it.median for of_it in here]
    return [100 * _median_of(place, "busy") for place in places], [of_it.median for of_it in here], [below, above]


if __name__ == "__main__":
    main()
