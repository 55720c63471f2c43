"""Fuzzes a server with a million bad messages of every kind, and tells whether it withstood them.

    python -m endurance.fuzz [--messages 1000000] [--kind images …] [--json]
    python -m endurance.fuzz --kind images --replay 4711

It starts `vitrine-server` with the bundled model and sends all kinds in equal rounds; see `endurance/fuzzing`. It
prints outcomes by kind and the server's resources after each round. It exits with 1 when the process ended, a valid
request got a wrong answer, bad input got an outcome that isn't allowed, the log tells of a fault, open files weren't
released, or memory kept growing.

The C library's allocator keeps freed memory for a while, so that memory first grows to what the worst moments took.
Equal rounds show this: the later half may not take much more than the earlier half. A leak takes as much in each round.
The allocator has as many arenas as in the container.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from benchmarks.harness.processes import Usage
from benchmarks.harness.rounds import log_progress, with_progress
from benchmarks.harness.servers import LoggedServer, logged_server
from endurance.frontend import VARIABLE, frontend_option, http_flags
from endurance.fuzzing.campaign import Campaign, Health, Report
from endurance.fuzzing.kinds import KINDS
from endurance.fuzzing.outcomes import Tally

DRAIN_SECONDS = 60
EXTRA_THREADS = 8
"""Threads that may come on top: gRPC's pool grows while a machine is busy, and shrinks when idle."""

MAX_UNEXPECTED = 20
"""Unexpected outcomes of each kind that are printed."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a campaign found."""

    reports: Sequence[Report]
    """One for each kind, over all rounds."""
    rounds: Sequence[Usage]
    """The server's resources after each round."""
    good_requests: Health
    alive: bool
    """True if the server's process survived all messages."""
    seconds_to_drain: float = 0.0
    exit_status: int | None = 0
    """None: the server didn't end in time."""
    faults_in_log: Sequence[str] = ()
    """Log lines of faults."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "messages": sum(report.tally.messages for report in self.reports),
            "kinds": [report_to_dict(report) for report in self.reports],
            "rounds": [asdict(usage) for usage in self.rounds],
            "good_requests": asdict(self.good_requests),
            "alive": self.alive,
            "seconds_to_drain": round(self.seconds_to_drain, 2),
            "exit_status": self.exit_status,
            "faults_in_log": list(self.faults_in_log),
        }

    def to_text(self) -> str:
        """A line for each kind, each round and each other value."""
        rest = {name: value for name, value in self.to_dict().items() if name not in ("kinds", "rounds")}
        rounds = [f"after round {number:<6} {usage}" for number, usage in enumerate(self.rounds, start=1)]
        return "\n".join([*map(line, self.reports), *rounds, *(f"{name:<18} {value}" for name, value in rest.items())])


@click.command()
@frontend_option
@click.option(
    "--messages",
    default=1_000_000,
    show_default=True,
    help="Messages to send; more if each kind's least attack in each round needs more.",
)
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(2), help="Equal parts to send them in.")
@click.option("--seed", default=0, show_default=True, help="Seed of all messages.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Kind to send; repeatable.  [all]")
@click.option("--max-growth-mib", default=64, show_default=True, help="MiB that later rounds may exceed earlier ones.")
@click.option(
    "--replay", type=int, help="Send only the attack of this number, of the one --kind, and print its outcome."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(
    messages: int,
    rounds: int,
    seed: int,
    kinds: tuple[str, ...],
    max_growth_mib: int,
    replay: int | None,
    as_json: bool,
) -> None:
    """Fuzz a server, and print the outcomes."""
    if replay is not None and len(kinds) != 1:
        raise click.UsageError("--replay needs exactly one --kind")
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    http = http_flags(os.environ[VARIABLE])
    with logged_server("--drain-seconds", str(DRAIN_SECONDS), *http) as server:
        if replay is not None:
            outcome = asyncio.run(Campaign(server, seed).replay(kinds[0], replay))
            click.echo(f"{outcome}\n{server.log.read_text()}")
            return
        result = finished(server, asyncio.run(fuzz(server, messages, rounds, seed, kinds or tuple(KINDS))))
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else result.to_text())
    if failures := failures_of(result, max_growth_mib):
        sys.exit("\n".join(["failed:", *failures]))


async def fuzz(server: LoggedServer, messages: int, rounds: int, seed: int, kinds: Sequence[str]) -> Result:
    """Sends all messages, round by round."""
    campaign, reports, usages = Campaign(server, seed), dict[str, Report](), list[Usage]()
    async with campaign.checked():
        for number, kind in with_progress(list(itertools.product(range(1, rounds + 1), kinds)), "fuzzing"):
            if server.alive:
                report = await campaign.run(kind, share_of(kind, messages / rounds))
                log_progress(f"round {number}, {line(report)}")
                for text in report.tally.unexpected[:MAX_UNEXPECTED]:
                    log_progress(f"not allowed: {text}")  # at once: a run that is broken off has no result
                reports[kind] = joined(reports[kind], report) if kind in reports else report
            if kind == kinds[-1]:
                usages.append(await campaign.settled(usages[0] if usages else server.usage()))
    return Result(list(reports.values()), usages, campaign.health, server.alive)


def finished(server: LoggedServer, result: Result) -> Result:
    """The result with the server's end: a call that hangs delays its drain, now that no caller is left."""
    begin = time.monotonic()
    try:
        status: int | None = server.stop(2 * DRAIN_SECONDS)
    except subprocess.TimeoutExpired:
        status = None
    seconds = time.monotonic() - begin
    return replace(result, seconds_to_drain=seconds, exit_status=status, faults_in_log=server.faults())


def joined(earlier: Report, later: Report) -> Report:
    """Sum of two reports of one kind, with the resources of the later one."""
    tally = Tally()
    tally.add(earlier.tally)
    tally.add(later.tally)
    return replace(later, tally=tally, seconds=earlier.seconds + later.seconds)


def share_of(kind: str, messages: float) -> int:
    """Messages of a kind among `messages`; at least one attack."""
    return max(1, round(messages * KINDS[kind].share))


def report_to_dict(report: Report) -> dict[str, Any]:
    """Plain data of one kind, for JSON."""
    tally = report.tally
    return {
        "kind": report.kind,
        "messages": tally.messages,
        "attacks": tally.attacks,
        "seconds": round(report.seconds, 1),
        "outcomes": dict(tally.outcomes.most_common()),
        "unexpected": tally.unexpected[:MAX_UNEXPECTED],
        **asdict(report.usage),
    }


def line(report: Report) -> str:
    """One kind in a line."""
    tally = report.tally
    outcomes = ", ".join(f"{count:,} {name}" for name, count in tally.outcomes.most_common())
    return f"{report.kind:<18} {tally.messages:>9,} messages, {report.seconds:>6.1f} s, {report.usage}; {outcomes}"


def failures_of(result: Result, max_growth_mib: float) -> list[str]:
    """A line for each thing that went wrong; empty if the server withstood everything."""
    before, after, growth = result.rounds[0], result.rounds[-1], growth_mib(result.rounds)
    failures = [
        f"{report.kind}: {text}" for report in result.reports for text in report.tally.unexpected[:MAX_UNEXPECTED]
    ]
    failures += [f"log: {text}" for text in result.faults_in_log]
    failures += [f"good request: {text}" for text in result.good_requests.wrong]
    checks = {
        "the server's process ended": not result.alive,
        f"exit status {result.exit_status} instead of 0": result.exit_status != 0,
        f"calls were left after all callers: drained in {result.seconds_to_drain:.0f} s": (
            result.seconds_to_drain > DRAIN_SECONDS / 2
        ),
        f"open files: {before.files} before, {after.files} after": after.files > before.files,
        f"threads: {before.threads} before, {after.threads} after": after.threads > before.threads + EXTRA_THREADS,
        f"memory kept growing, by {growth:.0f} MiB": growth > max_growth_mib,
    }
    return failures + [text for text, failed in checks.items() if failed]


def growth_mib(rounds: Sequence[Usage]) -> float:
    """MiB by which the peak of the later half of the rounds exceeds that of the earlier half."""
    half = len(rounds) // 2
    earlier, later = (max(usage.rss_kib for usage in part) for part in (rounds[:half], rounds[half:]))
    return (later - earlier) / 1024


if __name__ == "__main__":
    main()
