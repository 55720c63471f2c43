"""Silences log lines of libraries about bad input: any caller could fill the log with them, and hide what matters."""

import logging

NOISE = ("ExecuteBatchError raised in core",)  # an answer couldn't be sent, since its caller had gone
"""The beginnings of lines that gRPC's asyncio part logs as errors, with tracebacks."""

SECRET = ("Invalid encoding on ",)
"""The beginnings of lines that quote a header or a method's name that is no UTF-8: the header can be a token."""


def silence() -> None:
    """Silences these lines; call it once, when logging is set up."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # its callers get these errors
    logging.getLogger("grpc._cython.cygrpc").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    """Lets a record through, noise only at debug level, and nothing that quotes a header."""
    message = record.getMessage()
    if message.startswith(SECRET):
        return False
    if not message.startswith(NOISE):
        return True
    record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
    return logging.getLogger().isEnabledFor(logging.DEBUG)
