"""The ends of calls, and how they leave: every error has an outcome, and every outcome a status code."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc.code_pb2 import Code
from grpc_status import rpc_status

from vitrine.server import errors
from vitrine.server.errors import InvalidRequest, NotFound, Overloaded, RequestError, Unsupported
from vitrine.server.frontends.grpc.status import to_grpc
from vitrine.server.inference.call import OUTCOMES, Call, Outcome, Stage
from vitrine.server.protocols.oip.errors import in_triton_words
from vitrine.server.protocols.status import CODES, status_of


def subclasses_of(root: type[RequestError]) -> list[type[RequestError]]:
    found = [further for child in root.__subclasses__() for further in (child, *subclasses_of(child))]
    return [error for error in found if error.__module__ == errors.__name__]


def test_every_error_of_a_request_has_an_outcome_and_every_outcome_a_code() -> None:
    found = subclasses_of(RequestError)
    assert len(found) >= 8
    assert set(OUTCOMES) == set(found)
    assert set(CODES) == set(Outcome)
    assert len(set(CODES.values())) == len(CODES)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_has_the_name_that_metrics_logs_and_traces_show(outcome: Outcome) -> None:
    assert outcome.value == outcome.name == Code.Name(CODES[outcome])
    assert grpc.StatusCode[outcome.name].value[0] == CODES[outcome]


def test_a_status_has_the_path_of_the_field_as_the_protocol_named_it() -> None:
    status: Any = rpc_status
    details = to_grpc(status_of(InvalidRequest("WRONG", "it is wrong", "encoded.files[3]")))
    (info, bad) = status.from_call(_Call(details)).details
    violation = error_details_pb2.BadRequest()
    assert bad.Unpack(violation)
    assert violation.field_violations[0].field == "encoded.files[3]"
    assert info.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)


class _Call:
    """A call that has ended with a status, as its caller sees it."""

    def __init__(self, status: grpc.Status) -> None:
        self._status = status

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata

    def code(self) -> grpc.StatusCode:
        return self._status.code

    def details(self) -> str:
        return str(self._status.details)


def test_an_error_is_copied_for_another_protocol_and_stays_as_it_was() -> None:
    busy = Overloaded("OVERLOADED", "try again", retry_after=2.0)
    copied = busy.at("inputs", "in other words")
    assert isinstance(copied, Overloaded)
    assert (str(copied), copied.reason, copied.field, copied.retry_after) == (
        "in other words",
        "OVERLOADED",
        "inputs",
        2,
    )
    assert (str(busy), busy.field) == ("try again", "")
    assert str(busy.at("inputs")) == "try again"


@pytest.mark.parametrize(
    ("error", "text", "field"),
    [
        (NotFound("MODEL_UNKNOWN", "no model", "model"), "Request for unknown model: no model", "model_name"),
        (InvalidRequest("NOT_AN_IMAGE", "no image", "files[2]"), "element 2 of input 'pixels': no image", "inputs[0]"),
        (InvalidRequest("LAYER_UNKNOWN", "no layer", "activations.names[1]"), "no layer", "outputs"),
        (InvalidRequest("WRONG_SHAPE", "wrong", "inputs[0].shape"), "wrong", "inputs[0].shape"),
        (
            Unsupported("NO_REPOSITORY", "ours"),
            "explicit model load is not allowed: this server serves one file, and no model repository",
            "",
        ),
    ],
)
def test_the_open_protocol_translates_a_copy(error: RequestError, text: str, field: str) -> None:
    before = str(error), error.field
    said = in_triton_words(error)
    assert (str(said), said.field, said.reason) == (text, field, error.reason)
    assert type(said) is type(error)
    assert (str(error), error.field) == before


def test_a_stage_lasts_from_the_first_row_that_enters_it_to_the_last_that_leaves_it() -> None:
    call = Call("/test/Test")
    call.passed(Stage.QUEUE, 1.0, 3.0)
    call.passed(Stage.COMPUTE, 3.0, 4.0)
    call.passed(Stage.QUEUE, 0.5, 2.0)
    assert list(call.stages) == [Stage.QUEUE, Stage.COMPUTE]
    assert call.stages[Stage.QUEUE] == (0.5, 3.0)
    assert call.stages[Stage.QUEUE].seconds == 2.5
