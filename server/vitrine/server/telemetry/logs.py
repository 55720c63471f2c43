"""The log: lines of text or of JSON on standard error, each with the request that it is about.

It knows calls, and neither their transport nor traces. Logging never waits: a thread writes the lines.
"""

import logging
import sys
from dataclasses import dataclass
from enum import StrEnum

from vitrine.server.inference.call import HANDLED, Call, Outcome
from vitrine.server.telemetry.log_noise import silence
from vitrine.server.telemetry.log_queue import LineWriter, let_writes_fail

logger = logging.getLogger(__name__)

MILLISECONDS = 1000

NAMED = 8
"""Requests that a line names at most: a run can be for hundreds."""

FLUSH_SECONDS = 1.0
"""Seconds that writing the lines that wait may take when the process ends."""


class LogFormat(StrEnum):
    """The form of a line of the log."""

    TEXT = "text"
    """A sentence for people."""
    JSON = "json"
    """An object for programs."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Settings of the log."""

    level: str = "info"
    """The least serious level that is logged."""
    format: LogFormat = LogFormat.TEXT
    """The form of a line."""
    traced: bool = False
    """Calls become spans, which lines then name."""


def log_to_stderr(config: LogConfig, *, several: bool) -> None:
    """Sets up a process's log; where there are several processes, a line of text has the process's id."""
    handler = _stderr_handler()
    dress(handler, config, several=several)
    logging.basicConfig(level=config.level.upper(), handlers=[handler])
    silence()


def _stderr_handler() -> logging.Handler:
    if sys.stderr is None:  # a daemon may be started without one
        return logging.NullHandler()
    let_writes_fail(sys.stderr.fileno())
    return WaitlessHandler(LineWriter(sys.stderr.fileno()))


def dress(handler: logging.Handler, config: LogConfig, *, several: bool = False) -> None:
    """Gives a handler the form of the lines."""
    handler.setFormatter(_json_formatter() if config.format is LogFormat.JSON else _TextFormatter(several=several))
    handler.addFilter(_Requests(traced=config.traced))


class WaitlessHandler(logging.Handler):
    """Hands formatted lines to a writer, and says how many were dropped once there is room again.

    Args:
        writer: writes the lines.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self._told = 0

    @property
    def dropped(self) -> int:
        """Lines that were dropped."""
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a record's line over."""
        try:
            if self._told < self.dropped and self._writer.has_room:
                self._tell_dropped()
            self._writer.put(self.format(record))
        except Exception:  # as all handlers do: what is wrong with a line must not reach who logs it
            self.handleError(record)

    def flush(self) -> None:
        """Waits until the lines are written, for up to `FLUSH_SECONDS`."""
        self._writer.flush(FLUSH_SECONDS)

    def _tell_dropped(self) -> None:
        count, self._told = self.dropped - self._told, self.dropped
        text = "%d lines of the log were dropped, because standard error took no more"
        self._writer.put(self.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (count,), None)))


def dropped_lines() -> int:
    """Lines of this process's log that were dropped."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, WaitlessHandler))


class _Requests(logging.Filter):
    """Adds to each line the requests that it is about, and the trace of a request that is part of one."""

    def __init__(self, *, traced: bool) -> None:
        super().__init__()
        self._traced = traced

    def filter(self, record: logging.LogRecord) -> bool:
        calls = HANDLED.get()
        if calls:
            more = [f"+{len(calls) - NAMED}"] if len(calls) > NAMED else []
            record.request_id = ",".join([call.request_id for call in calls[:NAMED]] + more)
        if len(calls) == 1 and (self._traced or calls[0].trace):
            record.trace_id = calls[0].trace_id
        if len(calls) == 1 and self._traced:
            record.span_id = calls[0].span_id
        return True


class _TextFormatter(logging.Formatter):
    """Lines for people: the request's id stands at the end, where there is one."""

    def __init__(self, *, several: bool) -> None:
        process = " %(process)d" if several else ""
        super().__init__(f"%(asctime)s{process} %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in the standard library
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", "")
        return f"{line} (request {request_id})" if request_id else line


def _json_formatter() -> logging.Formatter:
    """Objects with the names that log collectors expect, and everything that a line carries as `extra`."""
    from pythonjsonlogger.json import JsonFormatter

    names = {"levelname": "level", "name": "logger"}
    return JsonFormatter(["levelname", "name", "message", "process"], rename_fields=names, timestamp=True)


def log_call(call: Call, usual: int = logging.DEBUG) -> None:
    """Logs that a call is over, at the usual level; at least at info where the server failed."""
    level = max(usual, logging.INFO) if call.outcome is Outcome.INTERNAL else usual
    if logger.isEnabledFor(level):
        facts = {
            "method": call.method,
            "code": call.outcome,
            "caller": call.caller.name,
            "model": call.model,
            "images": call.images,
            "ms": _milliseconds(call),
        }
        logger.log(level, "%s", " ".join(f"{name}={value or '-'}" for name, value in facts.items()), extra=facts)


def _milliseconds(call: Call) -> dict[str, float]:
    """The time of a call, and of each of its stages."""
    seconds = {"total": call.end - call.begin, **{stage.value: time.seconds for stage, time in call.stages.items()}}
    return {name: round(value * MILLISECONDS, 3) for name, value in seconds.items()}
