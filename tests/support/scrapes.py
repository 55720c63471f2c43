"""Runs a server with metrics, and scrapes them as Prometheus would."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from support.serving import LOOK_SECONDS, PATIENCE_SECONDS, SERVER, Log, RunningServer, logged_server, open_log


class Scrape:
    """Metrics of a server at one moment."""

    def __init__(self, text: str) -> None:
        self.text = text
        families = list(text_string_to_metric_families(text))
        self.metrics = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of this name whose labels include these."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= dict(sample.labels).items()
        )

    @property
    def has_activations(self) -> bool:
        """True if the series of every layer are there; workers' files are read one after the other."""
        last = all(self.value(f"vitrine_activation_{of}mean", layer="softmax") > 0 for of in ("", "training_"))
        return last and {"vitrine_dead_units_ratio", "vitrine_activation_window_images"} <= self.names

    def by(self, name: str, *labels: str) -> Mapping[tuple[str, ...], float]:
        """Samples of this name, by the values of these labels."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in self.samples
            if sample.name == name
        }


@dataclass(frozen=True)
class MeasuredServer:
    """A server with metrics."""

    server: RunningServer
    log: Log
    url: str

    @property
    def target(self) -> str:
        """HOST:PORT of its gRPC port."""
        return self.server.target

    def scrape(self) -> Scrape:
        """Scrapes its metrics now."""
        with urlopen(self.url, timeout=PATIENCE_SECONDS) as answer:
            return Scrape(answer.read().decode())

    def scrape_when(self, so: Callable[[Scrape], bool]) -> Scrape:
        """Scrapes until a condition holds: a call is counted only after its answer was sent."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not so(scrape := self.scrape()):
            assert time.monotonic() < deadline, scrape.text
            time.sleep(LOOK_SECONDS)
        return scrape

    def scrape_after(self, requests: int) -> Scrape:
        """A scrape that begins when so many requests have been counted: a request's other values come before that."""
        self.scrape_when(lambda scrape: scrape.value("vitrine_requests_total") == requests)
        return self.scrape()


@contextmanager
def measured_server(
    *arguments: str | Path, program: Sequence[str | Path] = (SERVER,), **environment: str
) -> Iterator[MeasuredServer]:
    """A server with metrics on a free port."""
    words = (*arguments, "--metrics-port", "0")
    with open_log() as (pipe, log), logged_server(pipe, *words, program=program, **environment) as server:
        yield MeasuredServer(server, log, log.wait_for(r"metrics are at (\S+)")[0])
