"""Parameters that are too large for one answer come in several, and are one for the caller."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from client.conftest import Ask
from client.scripted import IDENTITY, ScriptedServer, floats
from support.artifacts import export_random, random_mlp
from support.serving import running_server

from vitrine.client import AnswerError, LimitError
from vitrine.client.parameter_parts import MOST_BEGINNINGS, ParameterParts
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

WEIGHT = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model whose first layer has 2.5 MiB of parameters."""
    return export_random(tmp_path / "wide.onnx", [2000], seed=3)


def stored_weight() -> npt.NDArray[np.float32]:
    """PyTorch's weight of that layer: float32 (2000, 324)."""
    stored = dict(random_mlp([2000], seed=3).linears.named_parameters())["linear_1.weight"]
    return stored.detach().numpy()


def test_a_layer_larger_than_a_message_comes_whole(ask: Ask, wide: Path) -> None:
    with running_server(wide, "--max-message-mb", "1") as server:
        found = ask(server.target, "parameters", "linear_1")
        with grpc.insecure_channel(server.target) as channel:
            part = ClassifierServiceStub(channel).GetParameters(
                pb.GetParametersRequest(layer="linear_1", max_bytes=1 << 30)
            )
    assert np.array_equal(found.weight, stored_weight())
    assert (found.bias.shape, found.weight.flags.writeable) == ((2000,), False)
    assert 700 < part.weight.shape[0] < part.row_count == 2000
    assert part.ByteSize() <= 1 << 20


def test_a_client_gets_no_larger_answers_than_it_takes(ask: Ask, wide: Path) -> None:
    with running_server(wide) as server:
        found = ask(server.target, "parameters", "linear_1", options={"max_message_bytes": 100_000})
    assert np.array_equal(found.weight, stored_weight())


def test_an_older_client_gets_what_it_got(wide: Path) -> None:
    with (
        running_server(wide, "--max-message-mb", "1") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = ClassifierServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="ask for a part of the rows, by max_bytes"):
            stub.GetParameters(pb.GetParametersRequest(layer="linear_1"))
        whole = stub.GetParameters(pb.GetParametersRequest(layer="linear_2"))
    assert list(whole.weight.shape) == [10, 2000]


def test_an_older_server_sends_all_rows_at_once(ask: Ask, scripted: ScriptedServer) -> None:
    found = ask(scripted.target, "parameters", "linear_1")
    assert np.array_equal(found.weight, np.eye(3))
    assert len(scripted.requests) == 1


def test_parts_are_put_together_in_their_order(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.parameters = WEIGHT
    assert np.array_equal(ask(scripted.target, "parameters", "linear_1").weight, WEIGHT)
    assert [request.first_row for request in scripted.requests] == [0, 2, 4]


def test_rows_of_two_models_make_none(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.parameters = WEIGHT

    def publish(request: Any, context: grpc.ServicerContext) -> None:
        scripted.parameters = WEIGHT + 1
        scripted.model = replace(scripted.model, digest="another")

    scripted.script = [lambda *_: None, publish]
    assert np.array_equal(ask(scripted.target, "parameters", "linear_1").weight, WEIGHT + 1)
    assert [request.first_row for request in scripted.requests] == [0, 2, 0, 2, 4]


def test_servers_of_two_models_are_an_error_and_no_endless_loop(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.parameters = WEIGHT

    def answer_as_the_other(request: Any, context: grpc.ServicerContext) -> None:
        scripted.model = replace(scripted.model, digest=f"{request.first_row}")

    scripted.script = [answer_as_the_other] * 100
    with pytest.raises(AnswerError, match="came from different models, 5 times over: ask again"):
        ask(scripted.target, "parameters", "linear_1")
    assert len(scripted.requests) == 2 * MOST_BEGINNINGS


def answer(rows: int, row_count: int, width: int = 3) -> pb.GetParametersResponse:
    """An answer of some rows."""
    weight, bias = floats("weight", np.ones((rows, width))), floats("bias", np.ones(rows))
    return pb.GetParametersResponse(model=IDENTITY, weight=weight, bias=bias, row_count=row_count)


@pytest.mark.parametrize(
    "second",
    [answer(0, 5), answer(4, 5), answer(2, 5, width=4)],
    ids=["no rows", "too many rows", "wider rows"],
)
def test_parts_that_make_no_whole_are_an_error(second: pb.GetParametersResponse) -> None:
    parts = ParameterParts("linear_1", "", 1000)
    assert parts.add(answer(2, 5)) is None
    with pytest.raises(AnswerError, match="from row 2 on"):
        parts.add(second)


@pytest.mark.parametrize("row_count", [1, -1, 2**62], ids=["fewer than sent", "negative", "more than memory"])
def test_a_senseless_number_of_rows_is_an_error(row_count: int) -> None:
    with pytest.raises(AnswerError, match="rows of 'linear_1'"):
        ParameterParts("linear_1", "", 1000).add(answer(2, row_count))


@pytest.mark.parametrize(
    ("first_row", "max_bytes", "says"),
    [(-1, 0, "no row -1"), (2000, 0, "no row 2000: the layer has 2000"), (0, -1, "max_bytes is -1")],
)
def test_numbers_out_of_range_are_refused(wide: Path, first_row: int, max_bytes: int, says: str) -> None:
    with running_server(wide) as server, grpc.insecure_channel(server.target) as channel:
        request = pb.GetParametersRequest(layer="linear_1", first_row=first_row, max_bytes=max_bytes)
        with pytest.raises(grpc.RpcError) as caught:
            ClassifierServiceStub(channel).GetParameters(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in str(caught.value.details())


def test_not_even_one_row_is_refused_with_advice(ask: Ask, wide: Path) -> None:
    with running_server(wide) as server, pytest.raises(LimitError, match="raise max_bytes"):
        ask(server.target, "parameters", "linear_1", options={"max_message_bytes": 5000})
