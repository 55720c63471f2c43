"""The comparison with other servers: its client tells good answers from bad ones, and its report is made of them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.artifacts import export_random
from support.serving import RunningServer, running_server

from benchmarks.peers.load import Connect, Outcome, closed_loop, open_loop
from benchmarks.peers.measuring import PeerError, check
from benchmarks.peers.report import as_text, draw, with_tables
from benchmarks.peers.requests import FORMS, Work
from benchmarks.peers.results import Measured, Results, Round

INFER = FORMS["oip"]
ONE, MANY = Work(images=1, hidden=False), Work(images=64, hidden=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_random(tmp_path_factory.mktemp("benchmark") / "benchmark.onnx", [32, 16])


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[RunningServer]:
    with running_server(model, VITRINE_MAX_IMAGES="64") as server:
        yield server


def port_of(server: RunningServer) -> int:
    return int(server.target.rpartition(":")[2])


def long_enough(connect: Connect, connections: int, calls: int) -> Outcome:
    """A closed loop in which calls both begin and end; on a busy machine that may take a while."""
    outcomes = (closed_loop(connect, connections, calls, seconds) for seconds in (0.3, 3, 30))
    return next(seen for seen in outcomes if seen.offered_per_second)


@pytest.mark.parametrize("work", [ONE, MANY], ids=str)
def test_all_calls_of_a_closed_loop_are_answered(served: RunningServer, work: Work) -> None:
    seen = long_enough(partial(INFER.connect, port_of(served), work), connections=2, calls=4)
    assert seen.good_per_second > 0
    assert seen.bad == 0
    assert 0 < seen.p50_ms <= seen.p99_ms


def test_an_open_loop_sends_what_is_due(served: RunningServer) -> None:
    seen = open_loop(partial(INFER.connect, port_of(served), ONE), 2, rate=100, seconds=1.0)
    assert 50 < seen.offered_per_second < 150
    assert seen.bad == 0


def test_a_refused_call_is_a_bad_one(served: RunningServer) -> None:
    too_many = Work(images=65, hidden=False)
    seen = long_enough(partial(INFER.connect, port_of(served), too_many), connections=1, calls=2)
    assert seen.bad > 0
    assert seen.good_per_second == 0


def test_a_server_with_other_numbers_is_not_measured(
    served: RunningServer, model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(INFER, port_of(served), model)
    other = export_random(tmp_path / "other.onnx", [32, 16, 16])
    with pytest.raises(PeerError, match="its answer for 1 image, no layers is wrong"):
        check(INFER, port_of(served), other)


def rounds(*rates: float) -> list[Round]:
    values = [{"calls_per_second": rate, "cpu_us_per_call": 1e6 / rate, "bad": 0.0} for rate in rates]
    loads = ("1-plain", "1-hidden", "64-plain", "64-hidden")
    return [dict.fromkeys(loads, of_it) for of_it in values]


def results() -> Results:
    servers = {
        "vitrine-envoy-1": Measured("Vitrine, Envoy, 1 worker", ours=True, rounds=rounds(4000, 1000, 2000)),
        "triton": Measured("Triton", "0.7.0", note="the real one", rounds=rounds(1000, 1000, 1000)),
        "ray": Measured("Ray Serve", skipped="no package for this machine"),
    }
    return Results({"machine": "x86_64", "cpus": 2}, 3.0, servers)


def test_a_table_has_medians_ranges_and_ratios_of_the_same_round() -> None:
    said = as_text(results())
    assert "| Vitrine, Envoy, 1 worker | 2,000 (1,000–4,000) | 2.00 (1.00–4.00) | 500 (250–1,000) | 0 | 3 |" in said
    assert "- Triton 0.7.0: the real one" in said
    assert "- Ray Serve: not measured: no package for this machine" in said


def test_the_page_gets_new_tables_in_place_of_the_old_ones() -> None:
    page = "before\n<!-- tables: begin -->\nold\n<!-- tables: end -->\nafter\n"
    once = with_tables(page, "new\n")
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    assert with_tables(once, "new\n") == once


def test_what_was_measured_is_read_again(tmp_path: Path) -> None:
    results().write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results()


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    draw(results(), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
