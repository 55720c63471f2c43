"""The service: classifies images and shows what every layer calculated. Plain data in, plain data out.

It knows no transport and no ONNX Runtime: whoever speaks a protocol translates into `ClassifyRequest`, calls here, and
translates what comes back, the paths of fields in errors among it: here they are those of `ClassifyRequest`.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vitrine.model import ENVELOPE_BYTES, NOVELTY, ImageError, Parameters, Shape, answer_size, prepare
from vitrine.server.errors import AnswerTooLarge, InvalidRequest, listed, quoted
from vitrine.server.inference.admission import Admission, AdmissionConfig
from vitrine.server.inference.batching import Batcher, BatchingConfig
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.rate_limit import Rates, caller_at
from vitrine.server.inference.statistics import Statistics
from vitrine.server.models.snapshot import Models, ServedModel
from vitrine.server.security.access import ANYONE, Permission


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold."""

    max_images: int = 1024
    """The largest number of images."""
    max_message_bytes: int = 64 << 20
    """The largest request and answer, in bytes."""
    max_image_pixels: int = 50_000_000
    """The largest width × height that an encoded image may declare."""
    caller_rate: float = 0.0
    """How many images a second one caller may send; 0: as many as it likes."""


@dataclass(frozen=True, slots=True)
class LayerSelection:
    """Which layers' activations an answer carries; by default none."""

    every: bool = False
    """All of the model's layers."""
    names: tuple[str, ...] = ()
    """These layers."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassifyRequest:
    """A request to classify images: either `pixels` or `files`."""

    pixels: npt.NDArray[np.uint8] | None = None
    """uint8 (N, height, width), 0 = white (paper), 255 = black (ink)."""
    files: Sequence[bytes] | None = None
    """Whole image files, to be prepared here."""
    model: str | ServedModel = ""
    """The model's name; empty for the default. Or the model itself, where it was looked up to read the request."""
    activations: LayerSelection = LayerSelection()
    """The layers whose activations are wanted."""
    further_bytes: int = 0
    """What the protocol's answer has of each image besides digits and activations, in bytes at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The answer for N images; row i is image i."""

    model: ServedModel
    """Who gave it."""
    digits: npt.NDArray[np.int64]
    """int64 (N,): the class with the largest activation of the output layer."""
    probabilities: npt.NDArray[np.float32]
    """float32 (N, classes): the output layer's activations."""
    activations: Mapping[str, npt.NDArray[np.float32]]
    """float32 (N, width) for each wanted layer, in the order of the layers."""
    novelty: npt.NDArray[np.float32] | None = None
    """float32 (N,): how unlike a digit each image is; None where the model has no threshold to judge it by."""
    is_digit: npt.NDArray[np.bool_] | None = None
    """bool (N,): whether the novelty is at most that threshold; None where there is none."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do at one moment."""

    waiting: int
    """Images that wait for a run."""
    images: int
    """Images of all requests under way, those that wait among them."""
    bytes: int
    """Bytes of these requests and their answers."""


class Classifier:
    """Answers requests about the models that are served.

    Args:
        models: what is served.
        limits: what one request may hold.
        workers: where images are prepared, so that the event loop stays free. One request has one image there at a
            time: its others wait behind other callers', and are never prepared when its caller goes away.
        runs: where models run.
        batching: how requests are gathered into runs.
        admission: how much may be under way at once.
    """

    def __init__(
        self,
        models: Models,
        limits: Limits,
        workers: Executor,
        runs: Executor,
        batching: BatchingConfig,
        admission: AdmissionConfig,
    ) -> None:
        self.models = models
        self.limits = limits
        self.batching = batching
        self.statistics = Statistics()
        """What models have done; it counts runs by itself, and requests when it observes their calls."""
        self._workers = workers
        self._admission = Admission(admission)
        self._rates = Rates(limits.caller_rate, burst=max(limits.max_images, math.ceil(limits.caller_rate)))
        self._runs = runs
        self._batchers: WeakKeyDictionary[ServedModel, Batcher] = WeakKeyDictionary()

    @property
    def load(self) -> Load:
        """How much there is to do just now; to be asked on the event loop's thread."""
        waiting = sum(batcher.waiting for batcher in self._batchers.values())
        return Load(waiting, self._admission.images, self._admission.bytes)

    async def classify(self, request: ClassifyRequest, call: Call) -> Classification:
        """Classifies 1 to N images. The request counts as under way until the call is closed.

        Raises:
            PermissionDenied: the caller may not classify, or may not have activations.
            InvalidRequest: it holds no images, too many, or one that can't be read; or names an unknown layer.
            AnswerTooLarge: the wanted activations would pass the message limit; nothing was calculated.
            Overloaded: there is too much to do just now, or the caller has sent too much; nothing was calculated.
            NotFound: it names an unknown model.
        """
        call.caller.require(*_needed(request))
        model = request.model if isinstance(request.model, ServedModel) else self.models.get(request.model)
        call.model = model.label
        wanted = _wanted_layers(model, request.activations)
        count = self._count_images(request)
        answer_bytes = self._check_answer(count, model, wanted, request.further_bytes)
        call.images = count
        request_bytes = max(call.size, _request_bytes(request))  # a message can have much that is no image
        call.hold(self._admission.admit(count, request_bytes + answer_bytes))
        if self._rates.limited:
            self._rates.take(_name_of(call), count)
        shape = model.metadata.input.shape
        pixels = request.pixels if request.pixels is not None else await self._prepare(request.files, shape, call)
        outputs = list(dict.fromkeys((*wanted, *model.verdict)))
        values = await self._batcher(model).run(pixels, outputs, call.passed)
        self._admission.took(time.monotonic() - call.begin)
        answer = _classification(model, values, wanted)
        call.no_digits = None if answer.is_digit is None else count - int(np.count_nonzero(answer.is_digit))
        return answer

    def parameters(self, model: str, layer: str, call: Call) -> tuple[ServedModel, Parameters]:
        """The parameters of a linear layer. They count as under way until the call is closed.

        Raises:
            PermissionDenied: the caller may not have parameters.
            InvalidRequest: the model has no such layer, or it stores nothing.
            NotFound: there is no such model.
            AnswerTooLarge: they would pass the message limit.
            Overloaded: there is too much to do just now.
        """
        call.caller.require(Permission.PARAMETERS)
        served = self.models.get(model)
        call.model = served.label
        if layer in served.parameters:
            stored = served.parameters[layer]
            size = ENVELOPE_BYTES + stored.weight.nbytes + stored.bias.nbytes
            self._check_size(size, "they can't be sent", "layer")
            call.hold(self._admission.admit(0, call.size + size))
            return served, stored
        storing = listed(served.parameters)
        if layer in _layer_names(served):
            message = f"layer {layer!r} stores no parameters, it only calculates; those that do: {storing}"
            raise InvalidRequest("LAYER_STORES_NOTHING", message, "layer")
        message = f"no layer is called {quoted(layer)}; those with parameters: {storing}"
        raise InvalidRequest("LAYER_UNKNOWN", message, "layer")

    def _count_images(self, request: ClassifyRequest) -> int:
        images, field = (request.pixels, "pixels") if request.pixels is not None else (request.files, "files")
        if images is None or len(images) == 0:
            raise InvalidRequest("NO_IMAGES", "the request has no images: send at least one", field)
        if len(images) > self.limits.max_images:
            message = f"the request has {len(images)} images, and at most {self.limits.max_images} are taken: split it"
            raise InvalidRequest("TOO_MANY_IMAGES", message, field)
        return len(images)

    def _batcher(self, model: ServedModel) -> Batcher:
        """The model's own: models don't share runs. It goes when the model does."""
        if model not in self._batchers:
            ran = partial(self.statistics.ran, model.label)
            self._batchers[model] = Batcher(model.engine.run, self._runs, self.batching, ran)
        return self._batchers[model]

    def _check_answer(self, count: int, model: ServedModel, wanted: Sequence[str], further_bytes: int) -> int:
        """Activations can be a hundred times the request: what can't be sent isn't calculated. Gives their bytes."""
        size = answer_size(model.metadata.layers, wanted)
        size = replace(size, each=size.each + further_bytes) if further_bytes else size
        fitting = size.fitting(self.limits.max_message_bytes)
        advice = f"ask for {fitting} images at a time, or for fewer layers" if fitting else "ask for fewer layers"
        self._check_size(size.of(count), advice, "activations")
        return size.of(count)

    def _check_size(self, size: int, advice: str, field: str) -> None:
        limit = self.limits.max_message_bytes
        if size > limit:
            message = f"the answer would be {size:,} bytes, and {limit:,} are sent at most: {advice}"
            raise AnswerTooLarge("ANSWER_TOO_LARGE", message, field)

    async def _prepare(self, files: Sequence[bytes] | None, shape: Shape, call: Call) -> npt.NDArray[np.uint8]:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        there = copy_context().run  # what is logged in a worker's thread is about this call, too
        rows = [
            await loop.run_in_executor(self._workers, there, self._prepare_one, file, index, shape)
            for index, file in enumerate(files or ())
        ]
        call.passed(Stage.PREPARE, begin, loop.time())
        return np.stack(rows)

    def _prepare_one(self, file: bytes, index: int, shape: Shape) -> npt.NDArray[np.uint8]:
        try:
            return prepare(file, self.limits.max_image_pixels, shape)
        except ImageError as error:
            raise InvalidRequest(error.reason, str(error), f"files[{index}]") from error


def _name_of(call: Call) -> str:
    """What tells a caller from others: the name of its token, or its address where there are no tokens."""
    return caller_at(call.address()) if call.caller is ANYONE else call.caller.name


def _needed(request: ClassifyRequest) -> tuple[Permission, ...]:
    """The permissions that a request to classify takes."""
    wants_activations = request.activations.every or request.activations.names
    return (Permission.PREDICT, Permission.ACTIVATIONS) if wants_activations else (Permission.PREDICT,)


def _request_bytes(request: ClassifyRequest) -> int:
    return sum(map(len, request.files or ())) if request.pixels is None else request.pixels.nbytes


def _classification(
    model: ServedModel, values: Mapping[str, npt.NDArray[np.float32]], wanted: Sequence[str]
) -> Classification:
    probabilities = values[model.metadata.layers[-1].name]  # (N, classes)
    activations = {name: values[name] for name in wanted}
    digits, threshold = probabilities.argmax(axis=1), model.metadata.novelty_threshold  # (N,)
    if threshold is None:
        return Classification(model, digits, probabilities, activations)
    novelty = values[NOVELTY]  # (N,)
    is_digit = novelty.astype(np.float64) <= threshold  # exactly: in float32 the threshold might be rounded beyond it
    return Classification(model, digits, probabilities, activations, novelty, is_digit)


def _wanted_layers(model: ServedModel, selection: LayerSelection) -> list[str]:
    """The wanted layers, each once, in the order of the model's layers."""
    known = _layer_names(model)
    if selection.every and selection.names:
        raise InvalidRequest("CONTRADICTION", "ask for all layers or for some by name, not both", "activations")
    for index, name in enumerate(selection.names):
        if name not in known:
            message = f"no layer is called {quoted(name)}; the layers of {model.name}: {listed(known)}"
            raise InvalidRequest("LAYER_UNKNOWN", message, f"activations.names[{index}]")
    return known if selection.every else [name for name in known if name in selection.names]


def _layer_names(model: ServedModel) -> list[str]:
    return [layer.name for layer in model.metadata.layers]
