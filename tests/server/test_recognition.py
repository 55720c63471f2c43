"""Shortcuts of `Classify`: what they read and write is what protobuf's parser and messages would."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import Message
from support.artifacts import random_pixels
from support.mutants import mutated

from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import InvalidRequest, RequestError
from vitrine.server.inference.requests import Classification, ClassifyRequest
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols import templates
from vitrine.server.protocols.decoding import message_decoder
from vitrine.server.protocols.v1.convert import KnownClassify, read_classify, write_classification
from vitrine.server.protocols.v1.frames import ClassifyAnswer
from vitrine.server.protocols.v1.recognition import recognising
from vitrine.v1 import classifier_pb2 as pb

parse = message_decoder(pb.ClassifyRequest, lambda: 4096)


@pytest.fixture
def model(tiny_artifact: Path) -> ServedModel:
    return load_artifact(tiny_artifact, Device.CPU, "", "")


@pytest.fixture(autouse=True)
def _learn_from_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learns from each request: some would be seen too seldom here."""
    monkeypatch.setattr(templates, "LEARNT_EVERY", 1)


def request(images: int = 1, **fields: object) -> pb.ClassifyRequest:
    data = random_pixels(images).tobytes()
    tensor = pb.Tensor(shape=[images, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=data)
    return pb.ClassifyRequest(pixels=tensor, **fields)  # type: ignore[arg-type]


def outcome(decode: Callable[[bytes], object], data: bytes, model: ServedModel) -> object:
    """What becomes of a request: plain data, or the words of its refusal."""
    try:
        read: ClassifyRequest = read_classify(decode(data), model)  # type: ignore[arg-type]
    except RequestError as error:
        return error.reason, error.field, str(error)
    pixels = None if read.pixels is None else (read.pixels.shape, read.pixels.tobytes())
    return pixels, read.files and list(read.files), read.activations


class Unsearchable(bytes):
    """Bytes of a request that are too many to be searched on the event loop's thread."""

    def find(self, *_: object) -> int:
        raise AssertionError("it was searched")


def test_a_large_request_is_not_searched_for_its_pixels() -> None:
    large = request(1 + templates.MAX_PAYLOAD_BYTES // 324)
    decode = recognising(parse)
    assert decode(Unsearchable(large.SerializeToString())) == large


def test_a_request_that_differs_in_its_pixels_alone_is_not_parsed(model: ServedModel) -> None:
    decode = recognising(parse)
    first, second = (request(2, activations=pb.LayerSelection(names=["relu_1"])) for _ in range(2))
    assert isinstance(decode(first.SerializeToString()), pb.ClassifyRequest)
    known = decode(second.SerializeToString())
    assert isinstance(known, KnownClassify)
    read = read_classify(known, model)
    assert read.pixels is not None
    assert read.pixels.tobytes() == second.pixels.data
    assert read.pixels.shape == (2, 18, 18)
    assert read.activations.names == ("relu_1",)


@pytest.mark.parametrize(
    "other",
    [
        request(model="another"),
        request(activations=pb.LayerSelection(all=True)),
        request(2),
        pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 324], dtype=pb.DATA_TYPE_UINT8, data=bytes(324))),
        pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_FLOAT32, data=bytes(324))),
        pb.ClassifyRequest(encoded=pb.EncodedImages(files=[bytes(324)])),
    ],
    ids=["model", "layers", "images", "shape", "dtype", "files"],
)
def test_a_request_that_differs_in_anything_else_is_read_anew(other: pb.ClassifyRequest, model: ServedModel) -> None:
    decode = recognising(parse)
    for data in (request().SerializeToString(), other.SerializeToString(), other.SerializeToString()):
        assert outcome(decode, data, model) == outcome(parse, data, model)


def test_a_request_with_more_behind_its_pixels_is_not_taken_for_a_longer_one(model: ServedModel) -> None:
    decode = recognising(parse)
    one, three = request().SerializeToString(), request(3).SerializeToString()
    for data in (one, three):
        decode(data)
    more = one + b"\x7a\x85\x05" + bytes(645)  # a field that nobody knows, as long as two images
    assert len(more) == len(three)
    assert outcome(decode, more, model) == outcome(parse, more, model)


def mutants(chance: random.Random) -> Iterator[bytes]:
    """Messages of all kinds, again and again: whole ones, joined ones, cut ones, and some with bytes changed."""
    kinds = [
        request(),
        request(activations=pb.LayerSelection(names=["relu_1", "linear_1"])),
        request(2, model="tiny"),
        pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324))),
        pb.ClassifyRequest(model="a", pixels=pb.Tensor(name="a", shape=[1], dtype=pb.DATA_TYPE_UINT8, data=b"a")),
        pb.ClassifyRequest(encoded=pb.EncodedImages(files=[b"no image", bytes(324)])),
    ]
    whole = [kind.SerializeToString() for kind in kinds]
    # Fields that come twice, in another order, or that nobody knows.
    whole += [one + other for one in whole for other in whole]
    whole += [b"\x7a\x03abc" + one for one in whole[:6]]
    for _ in range(3000):
        yield mutated(chance.choice(whole), chance)


def test_recognised_requests_mean_what_the_parser_says(model: ServedModel) -> None:
    decode, known = recognising(parse), 0
    for data in mutants(random.Random(7)):
        assert outcome(decode, data, model) == outcome(parse, data, model)
        try:
            known += isinstance(decode(data), KnownClassify)
        except InvalidRequest:
            continue
    assert known > 500


def test_few_templates_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 3)
    decode = recognising(parse)
    for number in range(10):
        decode(request(model=f"model{number}").SerializeToString())
    known = [isinstance(decode(request(model=f"model{n}").SerializeToString()), KnownClassify) for n in (9, 8, 7, 0)]
    assert known == [True, True, True, False]


def classified(model: ServedModel, images: int, layers: Sequence[str], threshold: float | None) -> Classification:
    values = model.engine.run(random_pixels(images), model.layer_names)
    probabilities = values[model.layer_names[-1]]
    activations = {layer: values[layer] for layer in layers}
    if threshold is None:
        return Classification(model, probabilities.argmax(axis=1), probabilities, activations)
    novelty = probabilities.max(axis=1)
    return Classification(model, probabilities.argmax(axis=1), probabilities, activations, novelty, novelty < threshold)


@pytest.mark.parametrize("threshold", [None, 0.5], ids=["no-threshold", "threshold"])
@pytest.mark.parametrize("layers", [(), ("relu_1",), None], ids=["none", "one", "all"])
@pytest.mark.parametrize("images", [1, 2, 127, 128, 300])
def test_an_answers_bytes_are_the_messages(
    model: ServedModel, images: int, layers: Sequence[str] | None, threshold: float | None
) -> None:
    answer = classified(model, images, model.layer_names if layers is None else layers, threshold)
    expected: Message = write_classification(answer)
    for _ in range(2):  # made, and then from memory
        assert pb.ClassifyResponse.FromString(ClassifyAnswer(answer).SerializeToString()) == expected


def test_rows_of_a_batch_are_written_as_they_lie(model: ServedModel) -> None:
    whole = classified(model, 6, model.layer_names, None)
    part = replace(
        whole,
        digits=whole.digits[2:4],
        probabilities=whole.probabilities[2:4],
        activations={name: np.asfortranarray(values)[2:4] for name, values in whole.activations.items()},
    )
    assert pb.ClassifyResponse.FromString(ClassifyAnswer(part).SerializeToString()) == write_classification(part)
