"""Shortcuts of `ModelInfer`: requests that are recognised are answered as those that protobuf's parser reads."""

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from oip.wire import Input, Output, blank, classes, floats, pixels_input, png, request
from support.artifacts import random_pixels
from support.mutants import mutated
from support.serving import a_call, comes

from vitrine.oip import inference_pb2 as pb
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import InvalidRequest, PermissionDenied, RequestError
from vitrine.server.inference.service import Service
from vitrine.server.models.snapshot import Models, ServedModel
from vitrine.server.opening import open_service
from vitrine.server.protocols import templates
from vitrine.server.protocols.decoding import message_decoder
from vitrine.server.protocols.oip.frames import InferAnswer
from vitrine.server.protocols.oip.recognition import KnownInfer, recognising
from vitrine.server.protocols.oip.servicer import OipServicer
from vitrine.server.security.access import Caller, Permission
from vitrine.server.service_config import ServiceConfig

parse = message_decoder(pb.ModelInferRequest, lambda: 4096)


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> ServedModel:
    return replace(load_artifact(tiny_artifact, Device.CPU), name="tiny", version="1")


@pytest.fixture(params=[None, 0.5], ids=["no-threshold", "threshold"])
def served(model: ServedModel, request: pytest.FixtureRequest) -> ServedModel:
    return replace(model, metadata=replace(model.metadata, novelty_threshold=request.param))


@pytest.fixture
async def service(model: ServedModel) -> AsyncIterator[Service]:
    async with open_service(ServiceConfig(), load=lambda *_: model) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _learn_from_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learns from each request: some would be seen too seldom here."""
    monkeypatch.setattr(templates, "LEARNT_EVERY", 1)


def simple(images: int = 1, **fields: object) -> bytes:
    """The bytes of a request that can be recognised; its pixels are other ones each time."""
    pixels = random_pixels(images)
    return request(pixels_input(shape=pixels.shape), pixels.tobytes(), **fields).SerializeToString()


async def outcome(servicer: OipServicer, decode: Callable[[bytes], object], data: bytes) -> object:
    """What a caller gets: a message, or the words of a refusal."""
    try:
        answer = await servicer.ModelInfer(decode(data), a_call())  # type: ignore[arg-type]
    except RequestError as error:
        return error.reason, error.field, str(error)
    if isinstance(answer, InferAnswer):
        assert answer.behind(lambda size: size.to_bytes(4, "big")) == (
            len(written := answer.SerializeToString()).to_bytes(4, "big") + written
        )
        return answer.message()
    return answer


@pytest.mark.parametrize("outputs", [(), ("relu_1",), ("linear_2", "digit", "relu_1", "relu_1"), ("softmax",)])
@pytest.mark.parametrize("images", [1, 2, 300])
async def test_a_recognised_request_has_the_answer_of_a_parsed_one(
    service: Service, images: int, outputs: tuple[str, ...]
) -> None:
    servicer, decode = OipServicer(service), recognising(parse)
    wanted = {"outputs": [Output(name=name) for name in outputs]}
    for number in range(3):  # parsed, recognised and learnt from, recognised and known
        data = simple(images, **wanted)
        assert isinstance(decode(data), KnownInfer) == (number > 0)
        assert await outcome(servicer, decode, data) == await outcome(servicer, parse, data)


async def test_a_request_with_more_behind_its_pixels_is_not_taken_for_a_longer_one(service: Service) -> None:
    servicer, decode = OipServicer(service), recognising(parse)
    one, three = simple(), simple(3)
    for data in (one, one, three):
        await outcome(servicer, decode, data)
    more = one + b"\x7a\x85\x05" + bytes(645)  # a field that nobody knows, as long as two images
    assert len(more) == len(three)
    assert await outcome(servicer, decode, more) == await outcome(servicer, parse, more)


async def test_a_model_that_judges_novelty_has_its_outputs_joined_too(service: Service, served: ServedModel) -> None:
    if served.metadata.novelty_threshold is not None:
        served = replace(served, engine=Judging(served))
    service.models = Models.of(served)
    servicer, decode = OipServicer(service), recognising(parse)
    for _ in range(3):
        data = simple(5)
        assert await outcome(servicer, decode, data) == await outcome(servicer, parse, data)


class Judging:
    """Runs a model, and gives every image a novelty."""

    def __init__(self, model: ServedModel) -> None:
        self._engine = model.engine
        self.provider = model.engine.provider

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        values = self._engine.run(pixels, [name for name in layers if name != "novelty"])
        return {**values, "novelty": np.linspace(0, 1, len(pixels), dtype=np.float32)}


async def test_requests_with_ids_take_no_place_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an id of its own: a kind of one request would never come again."""
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 3)
    decode = recognising(parse)
    decode(simple())
    for number in range(20):
        assert isinstance(decode(simple(id=str(number))), pb.ModelInferRequest)
        assert isinstance(decode(simple()), KnownInfer)


async def test_the_permissions_of_a_recognised_request_are_its_own_callers(service: Service) -> None:
    servicer, decode = OipServicer(service), recognising(parse)
    for _ in range(3):
        await outcome(servicer, decode, simple(outputs=[Output(name="relu_1")]))
    known = decode(simple(outputs=[Output(name="relu_1")]))
    for caller in (Caller("few", frozenset({Permission.PREDICT})), Caller("none", frozenset())):
        call = a_call()
        call.caller = caller
        with pytest.raises(PermissionDenied):
            await servicer.ModelInfer(known, call)


async def test_what_was_learnt_holds_no_model(service: Service, model: ServedModel) -> None:
    served = replace(model, version="9")
    gone = weakref.ref(served)
    service.models = Models.of(served)
    servicer, decode = OipServicer(service), recognising(parse)
    for _ in range(3):
        await outcome(servicer, decode, simple())
    service.models = Models.of(model)
    gc.collect()
    gc.disable()  # from here on reference counting alone
    try:
        del served
        await outcome(servicer, decode, simple())
        assert await asyncio.to_thread(comes, lambda: gone() is None, True)
    finally:
        gc.enable()


async def test_a_kind_is_learnt_anew_for_another_model(service: Service, model: ServedModel) -> None:
    servicer, decode = OipServicer(service), recognising(parse)
    for version in ("1", "2"):
        service.models = Models.of(replace(model, version=version))
        for _ in range(3):
            answer = await outcome(servicer, decode, simple())
            assert isinstance(answer, pb.ModelInferResponse)
            assert answer.model_version == version


def mutants(chance: random.Random) -> Iterator[bytes]:
    """Messages of all kinds, again and again: whole ones, joined ones, cut ones, and some with bytes changed."""
    kinds = [
        blank(),
        blank(outputs=[Output(name="relu_1")], id="1"),
        blank(outputs=[Output(name="nothing")]),
        blank(parameters={"triton_": pb.InferParameter(bool_param=True)}),
        request(pixels_input(shape=(2, 324)), bytes(648)),
        request(pixels_input(shape=(2, 18)), bytes(36)),
        request(pixels_input("BYTES", shape=(1,)), bytes(324)),
        request(pixels_input(bytes_contents=[png()], datatype="BYTES", shape=(1,))),
        request(Input(name="other", datatype="UINT8", shape=(1, 324)), bytes(324)),
        classes(int64_param=3),
        floats(1.0),
    ]
    whole = [kind.SerializeToString() for kind in kinds]
    whole += [one + other for one in whole for other in whole]  # fields that come twice, and in another order
    for _ in range(2000):
        yield mutated(chance.choice(chance.choice((whole[: len(kinds)], whole))), chance)


async def test_whatever_comes_is_answered_as_the_parser_would_have_it(service: Service) -> None:
    servicer, decode, known = OipServicer(service), recognising(parse), 0
    for data in mutants(random.Random(7)):
        assert await outcome(servicer, decode, data) == await outcome(servicer, parse, data)
        try:
            known += isinstance(decode(data), KnownInfer)
        except InvalidRequest:
            continue
    assert known > 100
