"""The figures of docs/scale.md: the simulation agrees with what is known of queues, and the bill with arithmetic."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.artifacts import export_random

from benchmarks.harness.servers import Server, logged_server
from benchmarks.scale.cost import CallCosts, Demand, Prices, bill, fitted
from benchmarks.scale.measuring import queueing_round
from benchmarks.scale.report import DATA, PAGE, draw, main, tables_of, with_tables
from benchmarks.scale.simulation import Costs, poisson, simulate

FREE = Costs(receive=0, answer=0, run=0, row=0, rest=0)
PRICES = Prices(core_hour=0.04, gigabyte=0.01, machine_cores=16, machine_gbit=12.5, busy=0.6)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_calls_of_one_length_wait_as_in_an_m_d_1_queue(load: float) -> None:
    """Pollaczek and Khinchine: the mean wait is load / (2 (1 − load)) services."""
    found = simulate(poisson(load, 200_000), Costs(receive=0, answer=1, run=0, row=0, rest=0))
    assert found.latencies.mean() - 1 == pytest.approx(load / (2 * (1 - load)), rel=0.05)


def test_calls_that_come_during_a_run_share_the_next() -> None:
    found = simulate(np.array([0.0, 1.0, 2.0, 50.0]), Costs(receive=0, answer=0, run=10, row=1, rest=0.5))
    assert found.latencies.tolist() == [23.5, 22.5, 21.5, 11.5]  # the next run gets the core before the first answer
    assert found.runs == 3


def test_a_run_has_so_many_rows_and_no_more() -> None:
    found = simulate(np.zeros(5), Costs(receive=0, answer=0, run=1, row=0, rest=0), max_rows=2)
    assert found.runs == 3  # the first call finds the model idle, and is alone
    assert found.latencies.tolist() == [2, 3, 3, 3, 3]


def test_a_server_without_costs_answers_at_once() -> None:
    assert not simulate(poisson(10, 1000), FREE).latencies.any()


def test_costs_are_found_again() -> None:
    costs = CallCosts(call=100e-6, image=5e-6, byte=1e-9)
    calls = [(1, 0), (1, 3_000), (64, 0), (64, 200_000), (512, 4_000_000)]
    measured = [(images, size, costs.of(images, size // images)) for images, size in calls]
    found = fitted(measured)
    assert (found.call, found.image, found.byte) == pytest.approx((costs.call, costs.image, costs.byte), rel=1e-3)


def test_activation_bytes_decide_for_the_network() -> None:
    costs = CallCosts(call=100e-6, image=5e-6, byte=0.0)
    plain, layers = (bill(Demand(1e6, 64, size, 300), costs, PRICES) for size in (0, 7_520))
    assert plain.cores == pytest.approx(1e6 * (100e-6 / 64 + 5e-6) / 0.6)
    assert (plain.bound, layers.bound) == ("cores", "network")
    assert layers.gbit_out == pytest.approx((7_520e6 + 1e6 / 64 * 150) * 8 / 1e9)
    assert layers.machines == 9
    assert layers.machine_dollars == pytest.approx(9 * 16 * 0.04)
    assert layers.traffic_dollars == pytest.approx(layers.gbit_out / 8 * 3600 * 0.01)


def long_enough(server: Server, run: tuple[float, float]) -> dict[str, Any]:
    """A round with enough calls; on a busy machine that may take a while."""
    for seconds in (0.4, 4):
        with suppress(TimeoutError):
            return queueing_round(server, run, seconds, seed=0)
    return queueing_round(server, run, seconds=40, seed=0)


def test_a_round_of_too_few_calls_says_so(tmp_path: Path) -> None:
    model = export_random(tmp_path / "small.onnx", [32, 16])
    with logged_server(model, "--log-level", "error") as server, pytest.raises(TimeoutError, match="measure longer"):
        queueing_round(server, (20e-6, 5e-6), seconds=1e-9, seed=0)


def test_a_real_servers_round_has_every_load(tmp_path: Path) -> None:
    model = export_random(tmp_path / "small.onnx", [32, 16])
    with logged_server(model, "--log-level", "error") as server:
        found = long_enough(server, (20e-6, 5e-6))
    assert [load["load"] for load in found["loads"]] == [0.3, 0.6, 0.9]
    for load in found["loads"]:
        assert load["bad"] == 0
        assert load["calls"] > 0
        assert 0 < load["simulated"]["p50_ms"] <= load["simulated"]["p99_ms"]


def test_the_sentence_under_the_bill_is_what_its_rows_say(found: Any) -> None:
    *table, sentence = tables_of(found, 1e6, PRICES)["bill"].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("| ")]
    layered = [row for row in rows if row[1] == "64" and row[2] != "none"]
    times = [float(row[-1]) / float(row[-2]) for row in layered]
    assert len(times) == 4
    assert f" about {np.mean(times):.0f} times what the machines cost" in sentence


@pytest.fixture
def found() -> Any:
    return json.loads(DATA.read_text())


def test_the_pages_tables_are_those_of_its_measurements(found: Any) -> None:
    assert with_tables(PAGE.read_text(), tables_of(found, 1e6, PRICES)) == PAGE.read_text()


@pytest.mark.parametrize(("part", "tables"), [("costs", ["costs", "bill"]), ("waiting", ["waiting"])])
def test_one_part_is_reported_alone_and_never_written(part: str, tables: list[str], found: Any, tmp_path: Path) -> None:
    alone = {name: found[name] for name in ("machine", part)}
    assert [*tables_of(alone, 1e6, PRICES)] == tables
    (results := tmp_path / "scale.json").write_text(json.dumps(alone))
    page = PAGE.read_text()
    ended = CliRunner().invoke(main, ["--results", str(results), "--write"])
    assert ended.exit_code == 2
    assert "python -m benchmarks.scale --only" in ended.output
    assert PAGE.read_text() == page


def test_the_picture_is_drawn(found: Any, tmp_path: Path) -> None:
    draw(found, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
