"""The servicer in this process, where a test can put something else in the place of what it stands on."""

import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from oip.wire import blank, classes, pixels_input, request
from support.serving import a_call

from vitrine.oip import inference_pb2 as pb
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import AnswerTooLarge
from vitrine.server.inference.config import Limits
from vitrine.server.inference.service import Service
from vitrine.server.models.snapshot import Entry, Models, ServedModel, Snapshot
from vitrine.server.opening import open_service
from vitrine.server.protocols.oip.servicer import OipServicer
from vitrine.server.service_config import ServiceConfig


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> ServedModel:
    return replace(load_artifact(tiny_artifact, Device.CPU), name="tiny", version="1")


@pytest.fixture
async def service(model: ServedModel) -> AsyncIterator[Service]:
    async with open_service(ServiceConfig(), load=lambda *_: model) as opened:
        yield opened


async def inferred(servicer: OipServicer, message: pb.ModelInferRequest) -> pb.ModelInferResponse:
    answer = await servicer.ModelInfer(message, a_call())
    assert isinstance(answer, pb.ModelInferResponse)
    return answer


class Republished(Models):
    """Serves another version from the moment on that somebody has looked at what is served."""

    def __init__(self, first: ServedModel, second: ServedModel) -> None:
        super().__init__(Snapshot([Entry.of(first)], first.name))
        self._next = Snapshot([Entry.of(second)], second.name)

    @property
    def snapshot(self) -> Snapshot:
        now = super().snapshot
        self.replace(self._next)
        return now


async def test_what_reads_a_request_is_what_answers_it(model: ServedModel, service: Service) -> None:
    service.models = Republished(model, replace(model, version="2"))
    servicer = OipServicer(service)
    assert (await inferred(servicer, blank())).model_version == "1"
    assert (await inferred(servicer, blank())).model_version == "2"


async def test_of_equally_probable_classes_the_lower_comes_first(model: ServedModel, service: Service) -> None:
    even: npt.NDArray[np.float32] = np.full((1, 10), 0.1, np.float32)

    class Undecided:
        provider = model.engine.provider

        def run(self, _: npt.NDArray[np.uint8], layers: Any) -> Any:
            return dict.fromkeys(layers, even)

    service.models = Models.of(replace(model, engine=Undecided()))
    answer = await inferred(OipServicer(service), classes(int64_param=3))
    texts = [f"0.100000:{index}:{index}".encode() for index in range(3)]
    assert answer.raw_output_contents == [b"".join(struct.pack("<I", len(text)) + text for text in texts)]


async def test_an_answer_that_is_larger_than_was_reckoned_is_an_error_and_a_stream_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.server.protocols.oip.servicer.further_bytes", lambda *_: 0)
    service.limits = Limits(max_message_bytes=100_000)
    servicer = OipServicer(service)
    many = request(pixels_input(shape=(1000, 324)), bytes(324_000), outputs=classes(int64_param=10).outputs)
    with pytest.raises(AnswerTooLarge) as caught:
        await servicer.ModelInfer(many, a_call())
    assert (caught.value.reason, caught.value.field) == ("ANSWER_TOO_LARGE", "outputs")
    call = a_call()
    refused = await servicer.ModelStreamInfer(many, call)
    assert (refused.error_message, call.outcome) == (str(caught.value), "RESOURCE_EXHAUSTED")
    assert refused.infer_response == pb.ModelInferResponse()
