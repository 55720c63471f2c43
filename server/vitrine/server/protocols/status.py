"""Turns errors and outcomes into `google.rpc.Status`: the one place where they meet status codes.

The details are `google.rpc.ErrorInfo` (a reason for programs) and, where a field is at fault, `BadRequest` (its path).
Each front end writes a status in the way of its transport.
"""

import logging
from collections.abc import Mapping

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from vitrine.server.errors import Overloaded, RequestError
from vitrine.server.inference.call import OUTCOMES, Call, Outcome

logger = logging.getLogger(__name__)

DOMAIN = "vitrine"
"""The domain that the reasons belong to."""

CODES: Mapping[Outcome, int] = {outcome: code_pb2.Code.Value(outcome.value) for outcome in Outcome}
"""The status code of every outcome of a call: the outcomes have the codes' names."""


def failed(call: Call, error: Exception) -> status_pb2.Status:
    """Ends a call that has failed; gives the status for its caller. An internal error is logged, and not shown."""
    if isinstance(error, RequestError):
        call.reason = error.reason
        call.finish(OUTCOMES[type(error)])
        return status_of(error)
    logger.error("request %s failed inside the server", call.request_id, exc_info=error)
    call.finish(Outcome.INTERNAL)
    return internal_status(call.request_id)


def status_of(error: RequestError) -> status_pb2.Status:
    """The status of an error that the caller can do something about."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    details = [_pack(info)]
    if error.field:
        # Without a description: it is the message, which is sent once; headers are small.
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, reason=error.reason)
        details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, Overloaded):
        pause = duration_pb2.Duration()
        pause.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=pause)))
    return status_pb2.Status(code=CODES[OUTCOMES[type(error)]], message=str(error), details=details)


def internal_status(request_id: str) -> status_pb2.Status:
    """The status of an internal error: the caller learns the request's id, the log has the cause under it."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"request_id": request_id})
    message = f"something went wrong inside the server; its log has the cause under request {request_id}"
    return status_pb2.Status(code=CODES[Outcome.INTERNAL], message=message, details=[_pack(info)])


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
