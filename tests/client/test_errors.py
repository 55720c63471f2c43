"""How failed calls become errors: the class, the code, the reason, the field, and a sentence that helps."""

import pickle
from typing import Any

import grpc
import pytest
from client.conftest import Ask
from client.scripted import ScriptedServer, bad_field, error_info, fail, wait_for_the_client_to_leave

from vitrine.client import (
    AuthenticationError,
    Client,
    DeadlineError,
    InvalidRequestError,
    LimitError,
    ServiceError,
    UnavailableError,
    VitrineError,
)
from vitrine.client.errors import ADVICE, DETAILS_KEY, ERROR_OF_STATUS, read_error

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
ONCE: dict[str, Any] = {"retries": 0}


def test_every_status_has_its_error() -> None:
    assert set(ERROR_OF_STATUS) == set(FAILURES)


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_each_status_raises_its_error(code: grpc.StatusCode, ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(code)]
    with pytest.raises(ERROR_OF_STATUS[code]) as raised:
        ask(scripted.target, "model", options=ONCE)
    assert raised.value.code is code
    assert isinstance(raised.value, VitrineError)
    assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_an_error_has_the_reason_and_the_field_and_the_servers_own_sentence(ask: Ask, scripted: ScriptedServer) -> None:
    details = (error_info("LAYER_UNKNOWN"), bad_field("activations.names[0]"))
    scripted.script = [fail(grpc.StatusCode.INVALID_ARGUMENT, "no layer is called 'relu_9'", details)]
    with pytest.raises(InvalidRequestError) as raised:
        ask(scripted.target, "models")
    assert raised.value.reason == "LAYER_UNKNOWN"
    assert raised.value.field == "activations.names[0]"
    assert str(raised.value) == "no layer is called 'relu_9'"


def test_the_servers_sentence_stands_alone_where_there_is_also_advice(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "wait a second", (error_info("OVERLOADED"),))]
    with pytest.raises(LimitError, match=r"^wait a second$"):
        ask(scripted.target, "models")


@pytest.mark.parametrize("code", ADVICE, ids=lambda code: code.name)
def test_a_status_of_grpcs_own_comes_with_advice(code: grpc.StatusCode, ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(code, "grpc says")]
    with pytest.raises(ServiceError) as raised:
        ask(scripted.target, "model", options=ONCE)
    assert scripted.target in str(raised.value)
    assert str(raised.value).endswith("(grpc says)")
    assert raised.value.reason == raised.value.field == ""


def test_details_that_cant_be_read_are_as_good_as_none() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((DETAILS_KEY, b"\xff\xff")),
        details="no such model",
    )
    read = read_error(error, "somewhere", 30)
    assert (str(read), read.reason, read.field) == ("no such model", "", "")


def test_a_slow_answer_is_a_deadline_error_that_names_the_time(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [wait_for_the_client_to_leave]
    with pytest.raises(DeadlineError, match=r"within 0\.05 s: give a longer timeout"):
        ask(scripted.target, "model", timeout=0.05)


def test_the_clients_own_deadline_holds_where_a_call_gives_none(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [wait_for_the_client_to_leave]
    with pytest.raises(DeadlineError, match=r"within 0\.05 s"):
        ask(scripted.target, "models", options={"timeout": 0.05})


def test_nobody_listening_is_an_error_that_names_the_target(ask: Ask) -> None:
    with pytest.raises(UnavailableError, match="no answer from localhost:1: check that the server runs there"):
        ask("localhost:1", "health", options=ONCE)


def test_an_answer_over_the_clients_limit_says_what_to_raise(ask: Ask, scripted: ScriptedServer) -> None:
    with pytest.raises(LimitError, match="raise max_message_bytes"):
        ask(scripted.target, "model", options={"max_message_bytes": 10})


def test_an_error_survives_pickling() -> None:
    error = AuthenticationError("no token", grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "f")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is AuthenticationError
    assert (str(copy), copy.code, copy.reason, copy.field) == ("no token", error.code, "TOKEN_MISSING", "f")


def test_closing_the_client_ends_a_call_under_way(scripted: ScriptedServer) -> None:
    client = Client(scripted.target)
    scripted.script = [lambda *_: client.close(), wait_for_the_client_to_leave]
    with pytest.raises(ServiceError) as raised:
        client.model()
    assert raised.value.code is grpc.StatusCode.CANCELLED
