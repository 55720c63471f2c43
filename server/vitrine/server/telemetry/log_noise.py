"""Keeps out of the log what libraries say there of bad input: every stranger could fill it, and hide what matters."""

import logging

OF_NO_INTEREST = (
    "ExecuteBatchError raised in core",  # an answer couldn't be sent, since its caller had gone
    "Invalid encoding on ",  # a header, or a method's name, is no UTF-8
)
"""How some of what gRPC's asyncio part logs begins, as errors with tracebacks."""


def quieten() -> None:
    """Tells the libraries to keep that to themselves; call it once, when logging is set up."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with an image, its caller is told
    logging.getLogger("grpc._cython.cygrpc").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    """Whether a record is to be logged; what is of no interest is a matter of debugging."""
    if not record.getMessage().startswith(OF_NO_INTEREST):
        return True
    record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
    return logging.getLogger().isEnabledFor(logging.DEBUG)
