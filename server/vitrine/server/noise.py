"""Keeps out of the log what libraries say there of bad input: every stranger could fill it, and hide what matters."""

import logging

CALLER_GONE = "ExecuteBatchError raised in core"
"""How gRPC begins to say, as an error with a traceback, that an answer couldn't be sent since its caller had gone."""


def quieten() -> None:
    """Tells the libraries to keep that to themselves; call it once, when logging is set up."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with an image, its caller is told
    logging.getLogger("grpc._cython.cygrpc").addFilter(_matters)  # that a caller has gone is no fault


def _matters(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(CALLER_GONE)
