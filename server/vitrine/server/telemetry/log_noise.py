"""Silences log lines of libraries about bad input: any caller could fill the log with them, and hide what matters."""

import logging

NOISE = (
    "ExecuteBatchError raised in core",  # an answer couldn't be sent, since its caller had gone
    "Invalid encoding on ",  # a header, or a method's name, is no UTF-8
)
"""The beginnings of lines that gRPC's asyncio part logs as errors, with tracebacks."""


def silence() -> None:
    """Silences these lines; call it once, when logging is set up."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # its callers get these errors
    logging.getLogger("grpc._cython.cygrpc").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    """Lets a record through, noise only at debug level."""
    if not record.getMessage().startswith(NOISE):
        return True
    record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
    return logging.getLogger().isEnabledFor(logging.DEBUG)
