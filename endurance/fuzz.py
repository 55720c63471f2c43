"""Sends a server a million bad messages of every kind, and tells whether it bore them.

It starts `vitrine-server` in a process of its own, with the model that ships with it, and sends everything in equal
rounds. It exits with 1 when the process died, a good request was answered wrongly, a status was none of those that bad
input may get, the log tells of a fault, open files weren't given back, or memory went on growing. Some rubbish ends
grpc.aio's server, which is then started again: what falls into such a restart is counted by itself.

What is let go stays with the C library's allocator for a while, so that memory first grows to what the worst moments
took. Rounds are equal so that this shows: the later half of them may not take much more than the earlier half did. A
leak takes as much in each. The allocator has as many arenas as in the container.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import click

from benchmarks.harness.processes import Usage
from benchmarks.harness.servers import LoggedServer, logged_server
from endurance.fuzzing.campaign import KINDS, Campaign, Report
from endurance.fuzzing.restarts import Restarts
from endurance.fuzzing.verdict import Tally

DRAIN_SECONDS = 60
EXTRA_THREADS = 8
"""How many threads more than before may be there: gRPC's pool grows while a machine is busy, and shrinks when idle."""

KEPT = 20
"""How many of the unexpected of each kind are shown."""


@click.command()
@click.option("--messages", default=1_000_000, show_default=True, help="How many messages are sent.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(2), help="In how many equal parts.")
@click.option("--seed", default=0, show_default=True, help="What they are made from.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only this kind; several may be.")
@click.option("--most-growth", default=64, show_default=True, help="MiB by which later rounds may exceed earlier ones.")
@click.option("--replay", type=int, help="Send only this number of the one kind, and say what came of it.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(
    messages: int, rounds: int, seed: int, kinds: tuple[str, ...], most_growth: int, replay: int | None, as_json: bool
) -> None:
    """Fuzz a server, and print what came of it."""
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    with logged_server("--drain-seconds", str(DRAIN_SECONDS)) as server:
        if replay is not None:
            outcome = asyncio.run(Campaign(server, seed).replay(kinds[0], replay))
            click.echo(f"{outcome}\n{server.log.read_text()}")
            return
        figures = asyncio.run(fuzz(server, messages, rounds, seed, kinds or tuple(KINDS)))
        figures["seconds_to_drain"], figures["exit_status"] = stop(server)
        restarts = Restarts(server.log)
        figures["restarts"] = len(restarts.moments())
        figures["faults_in_log"] = restarts.unexplained(server.faults())
        click.echo(json.dumps(figures, indent=2) if as_json else table(figures))
    if failures := failures_of(figures, most_growth):
        sys.exit("\n".join(["failed:", *failures]))


async def fuzz(
    server: LoggedServer, messages: int, rounds: int, seed: int, kinds: tuple[str, ...]
) -> dict[str, object]:
    """Sends everything, round by round."""
    campaign, reports, usages = Campaign(server, seed), dict[str, Report](), list[Usage]()
    async with campaign.checked():
        for number in range(1, rounds + 1):
            for kind in kinds if server.alive else ():
                report = await campaign.run(kind, share_of(kind, messages / rounds))
                show(report, f"round {number}, ")
                reports[kind] = joined(reports.get(kind), report)
            usages.append(await campaign.settled(usages[0] if usages else server.usage()))
    return {
        "rounds": [asdict(usage) for usage in usages],
        "kinds": [row(report) for report in reports.values()],
        "messages": sum(report.tally.messages for report in reports.values()),
        "good_requests": asdict(campaign.health),
        "alive": server.alive,
    }


def joined(earlier: Report | None, later: Report) -> Report:
    """Both as one."""
    tally = Tally()
    for report in filter(None, (earlier, later)):
        tally.add(report.tally)
    return replace(later, tally=tally, seconds=later.seconds + (earlier.seconds if earlier else 0.0))


def share_of(kind: str, messages: float) -> int:
    """How many messages of a kind there are among so many; at least one attack."""
    return max(1, round(messages * KINDS[kind].share))


def stop(server: LoggedServer) -> tuple[float, int | None]:
    """How long the server takes to drain, with no caller left, and its exit status; a call that hangs shows here."""
    begin = time.monotonic()
    try:
        status: int | None = server.stop(2 * DRAIN_SECONDS)
    except subprocess.TimeoutExpired:
        status = None
    return time.monotonic() - begin, status


def row(report: Report) -> dict[str, object]:
    """One kind's figures."""
    tally = report.tally
    return {
        "kind": report.kind,
        "messages": tally.messages,
        "attacks": tally.attacks,
        "seconds": round(report.seconds, 1),
        "outcomes": dict(tally.outcomes.most_common()),
        "unexpected": tally.unexpected[:KEPT],
        **asdict(report.usage),
    }


def show(report: Report, prefix: str) -> None:
    """A line on standard error: it takes minutes."""
    click.echo(f"{prefix}{line(row(report))}", err=True)


def line(figures: dict[str, object]) -> str:
    """One kind's figures for people."""
    outcomes = ", ".join(f"{count:,} {name}" for name, count in dict(figures["outcomes"]).items())  # type: ignore[call-overload]
    return (
        f"{figures['kind']:<18} {figures['messages']:>9,} messages, {figures['seconds']:>6} s, "
        f"{int(str(figures['rss_kib'])) / 1024:.0f} MiB, {figures['files']} files, {figures['threads']} threads; "
        f"{outcomes}"
    )


def table(figures: dict[str, object]) -> str:
    """All figures for people."""
    kinds: list[dict[str, object]] = figures["kinds"]  # type: ignore[assignment]
    rest = {name: value for name, value in figures.items() if name != "kinds"}
    return "\n".join([*map(line, kinds), *(f"{name:<18} {value}" for name, value in rest.items())])


def failures_of(figures: dict[str, object], most_growth: int) -> list[str]:
    """What went wrong; nothing, if all is well."""
    rounds = [Usage(**usage) for usage in figures["rounds"]]  # type: ignore[attr-defined]
    before, after, grown = rounds[0], rounds[-1], growth_mib(rounds)
    health: dict[str, object] = figures["good_requests"]  # type: ignore[assignment]
    kinds: list[dict[str, object]] = figures["kinds"]  # type: ignore[assignment]
    failures = [f"{kind['kind']}: {text}" for kind in kinds for text in kind["unexpected"]]  # type: ignore[attr-defined]
    failures += [f"log: {text}" for text in figures["faults_in_log"]]  # type: ignore[attr-defined]
    failures += [f"good request: {text}" for text in health["wrong"]]  # type: ignore[attr-defined]
    wrong = {
        "the server's process ended": not figures["alive"],
        f"it ended with status {figures['exit_status']}": figures["exit_status"] != 0,
        "calls were left when all callers had gone": float(str(figures["seconds_to_drain"])) > DRAIN_SECONDS / 2,
        f"open files: {before.files} before, {after.files} after": after.files > before.files,
        f"threads: {before.threads} before, {after.threads} after": after.threads > before.threads + EXTRA_THREADS,
        f"memory went on growing, by {grown:.0f} MiB": grown > most_growth,
    }
    return failures + [text for text, is_so in wrong.items() if is_so]


def growth_mib(rounds: Sequence[Usage]) -> float:
    """By how much the most that was held after any later round exceeds the most after an earlier one."""
    half = len(rounds) // 2
    earlier, later = (max(usage.rss_kib for usage in part) for part in (rounds[:half], rounds[half:]))
    return (later - earlier) / 1024


if __name__ == "__main__":
    main()
