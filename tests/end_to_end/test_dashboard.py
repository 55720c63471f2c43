"""Dashboard, alerts and docs name metrics and labels that the server really has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.publishing import bad_files, publish
from support.scrapes import Scrape, measured_server

from vitrine.client import Client, InvalidRequestError
from vitrine.server.process.port import can_be_shared

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "vitrine.json").read_text())
RULES = (ROOT / "deploy" / "prometheus" / "vitrine.rules.yml").read_text()
DOCS = (ROOT / "docs" / "metrics.md").read_text()
OF_SEVERAL_WORKERS = {"vitrine_worker_deaths_total", "vitrine_worker_hangs_total"}
OF_TLS = {"vitrine_certificate_expiry_timestamp_seconds"}
"""Metrics that only some servers have; the one that is scraped here has no certificate."""

FROM_PROMETHEUS = {"instance", "job", "le"}
"""Labels that a scrape lacks, or that belong to every histogram."""

KEYWORDS = {"by", "on", "and", "or", "unless", "without", "ignoring", "group_left", "group_right"}


def expressions() -> Iterator[str]:
    """Every PromQL expression of the dashboard and the alerts."""
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ()))
    yield from re.findall(r"expr: (.+)", RULES)


def metric_names(expression: str) -> set[str]:
    """Metrics in an expression: words that aren't functions, labels, durations, strings or keywords."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", re.sub(r'"[^"]*"', '""', expression))
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"\b[a-zA-Z_][\w:]*\b(?!\s*\()", bare)) - KEYWORDS


def label_names(expression: str) -> set[str]:
    """Labels that an expression selects or groups by."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    selected = re.findall(r"(\w+)\s*[=!]~?\s*\"\"", bare)
    grouped = [name.strip() for names in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare) for name in names.split(",")]
    return {*selected, *grouped} - FROM_PROMETHEUS


def scrape_of_a_server_that_has_done_everything(root: Path, workers: int) -> Scrape:
    publish(root, "digits", 1)
    publish(root, "digits", 2, bad_files()["truncated"])
    repository = ("--model-repository", root, "--default-model", "digits")
    with measured_server(*repository, "--workers", str(workers)) as server, Client(server.target) as client:
        client.classify(ROOT / "examples" / "eight.png")
        with pytest.raises(InvalidRequestError):
            client.parameters("relu_1")
        return server.scrape_when(
            lambda scrape: (
                scrape.value("vitrine_requests_total") > 1
                and scrape.value("vitrine_refused_total") > 0
                and scrape.has_activations
            )
        )


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    if not can_be_shared():
        pytest.skip("this platform doesn't share ports")
    return scrape_of_a_server_that_has_done_everything(tmp_path_factory.mktemp("workers"), workers=2)


def test_the_expressions_are_understood() -> None:
    expression = 'sum by (code, le) (rate(a_total{x="b{c", y=~".*"}[5m])) / on (d) f > 0.5 and g:h'
    assert metric_names(expression) == {"a_total", "f", "g:h"}
    assert label_names(expression) == {"code", "x", "y", "d"}


def test_a_server_that_shows_nothing_at_all_is_not_taken_for_ready() -> None:
    (expression,) = re.findall(r"alert: VitrineNotReady\n\s+expr: (.+)", RULES)
    assert expression.endswith("or absent(vitrine_ready)")


def test_every_metric_of_dashboard_and_alerts_is_there(scrape: Scrape) -> None:
    found = list(expressions())
    assert len(found) > 30
    for expression in found:
        assert metric_names(expression), expression
        assert metric_names(expression) <= scrape.names | OF_TLS, expression


def test_every_label_of_dashboard_and_alerts_is_there(scrape: Scrape) -> None:
    for expression in expressions():
        names = metric_names(expression)
        there = {label for sample in scrape.samples if sample.name in names for label in sample.labels}
        assert label_names(expression) <= there, expression


def test_every_metric_is_documented_and_the_other_way_round(scrape: Scrape) -> None:
    documented = dict(re.findall(r"^\| `(vitrine_\w+)` \|([^|]*)\|", DOCS, re.MULTILINE))
    assert set(documented) == scrape.metrics | OF_TLS
    for metric in scrape.metrics:
        labels = documented[metric]
        suffixes = (metric, f"{metric}_bucket")
        there = {label for sample in scrape.samples if sample.name in suffixes for label in sample.labels} - {"le"}
        assert set(re.findall(r"`(\w+)`", labels)) == there, metric


def test_every_metric_is_on_the_dashboard(scrape: Scrape) -> None:
    shown = {name for expression in expressions() for name in metric_names(expression)}
    for metric in scrape.metrics | OF_TLS:
        assert {metric, f"{metric}_bucket"} & shown, metric


def test_one_worker_shows_what_several_do(scrape: Scrape, tmp_path: Path) -> None:
    assert (
        scrape_of_a_server_that_has_done_everything(tmp_path, workers=1).metrics == scrape.metrics - OF_SEVERAL_WORKERS
    )


def test_the_dashboard_asks_for_its_data_source() -> None:
    (source,) = (variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "datasource")
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${" + source["name"] + "}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
