"""The event loop of a process that serves."""

import asyncio
import sys

import pytest

from vitrine.server.process.event_loop import run


async def note_loop(found: list[str]) -> None:
    found.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])


def test_a_server_runs_on_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    found: list[str] = []
    run(note_loop(found))
    assert found == ["uvloop"]


def test_a_server_runs_on_pythons_own_loop_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    found: list[str] = []
    run(note_loop(found))
    assert found == ["asyncio"]
