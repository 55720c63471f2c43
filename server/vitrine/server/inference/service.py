"""The service: classifies images and shows what every layer calculated. Plain data in, plain data out.

Every method checks the caller's permission itself, so that no front end can forget to. It knows no transport and no
ONNX Runtime: a protocol translates its messages into plain data, calls here, and translates the answer, including the
paths of fields in errors: here they are those of `ClassifyRequest`.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from weakref import finalize

import numpy as np
import numpy.typing as npt

from vitrine.model import ENVELOPE_BYTES, NOVELTY, ImageError
from vitrine.server.capture.capture import Capture
from vitrine.server.capture.rows import CapturedModel, Rows
from vitrine.server.errors import InvalidRequest, NotFound, Unsupported, listed, quoted
from vitrine.server.inference.admission import Admission, AdmissionConfig
from vitrine.server.inference.attribution import Network, attribute, check_classes, explanation_bytes
from vitrine.server.inference.batching import Batcher, inline_rows
from vitrine.server.inference.cache import CachedBatcher, RowCache
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.config import BatchingConfig, Limits
from vitrine.server.inference.connections import ConnectionConfig, Connections
from vitrine.server.inference.interventions import (
    IntervenedRun,
    check_finite,
    check_interventions,
    no_interventions,
    rows_of,
)
from vitrine.server.inference.plan import Plan, answer_too_large, rows_within
from vitrine.server.inference.rate_limit import RateLimiter, caller_at
from vitrine.server.inference.readiness import Readiness
from vitrine.server.inference.requests import (
    Classification,
    ClassifyRequest,
    ExplainRequest,
    Explanation,
    ImagesRequest,
    Interventions,
    LayerSelection,
    ModelDescription,
    ParameterRows,
    ShownPreparation,
    Workload,
)
from vitrine.server.inference.statistics import Statistics
from vitrine.server.models.repository import LoadModel
from vitrine.server.models.snapshot import IntervenedRunner, Models, ServedModel, Snapshot
from vitrine.server.observers import suppress_and_log
from vitrine.server.preparation.pool import PreparationPool
from vitrine.server.security.access import ANYONE, EVERYONE, Access, Permission
from vitrine.server.security.certificates import CertificateInForce
from vitrine.server.threads import off_loop

MAX_PLANS = 256
"""Plans that are kept for one model: callers may ask for its layers in any combination."""

MOST_SHOWN_BYTES = 1 << 20
"""The most bytes of an answer with the steps of a preparation."""


class Service:
    """Answers requests about the models that are served.

    Args:
        models: the models.
        limits: limits on one request.
        preparation: prepares image files. A request has one there at a time: its others wait behind other callers',
            and are never prepared when its caller goes away.
        runs: threads that run models.
        batching: the settings of batches.
        admission: limits on the work under way.
        load: looks into the model repository; None: there is none.
        access: identifies callers; a front end asks it.
        observers: told of every finished call of a model's service; a front end tells them.
        meters: told of every finished call, including refused ones and those of health and descriptions.
        connections: the limits of connections, which front ends share.
        cache_bytes: bytes of answers to keep for images that come again; 0 keeps none.
        capture: keeps a sample of what is classified; None: nothing is kept.
    """

    def __init__(
        self,
        models: Models,
        limits: Limits,
        preparation: PreparationPool,
        runs: Executor,
        batching: BatchingConfig,
        admission: AdmissionConfig,
        load: LoadModel | None = None,
        access: Access = EVERYONE,
        observers: Sequence[Callable[[Call], None]] = (),
        meters: Sequence[Callable[[Call], None]] = (),
        connections: ConnectionConfig | None = None,
        cache_bytes: int = 0,
        capture: Capture | None = None,
    ) -> None:
        self.models = models
        self.limits = limits
        self.batching = batching
        self.access = access
        self.observers = observers
        self.meters = meters
        self.readiness = Readiness()
        """The state of the service: starting, ready or leaving."""
        self.certificate = CertificateInForce()
        """The certificate of the front end; none without TLS."""
        self.statistics = Statistics()
        """The work that models have done."""
        self._count = suppress_and_log(self.statistics.observe, "the statistics failed to count a call")
        self._preparation = preparation
        self._runs = runs
        self._load = load
        self._admission = Admission(admission)
        self.connections = Connections(connections or ConnectionConfig(), self._admission)
        """The connections of all front ends."""
        self._rates = RateLimiter(limits.caller_rate, burst=max(limits.max_images, math.ceil(limits.caller_rate)))
        self._cache = RowCache(cache_bytes) if cache_bytes else None
        self._explaining = asyncio.Lock()
        self._capture = capture
        if capture is not None:
            self._keep = suppress_and_log(capture.keep, "images of a request can't be captured")
        self._runners: dict[int, _ModelRunner] = {}  # by the model's id, as long as there is the model

    @property
    def workload(self) -> Workload:
        """The work at this moment; to be asked on the event loop's thread."""
        waiting = sum(batcher.waiting for runner in list(self._runners.values()) for batcher in runner.batchers)
        held, cache, capture = self.connections, self._cache, self._capture
        return Workload(
            waiting,
            self._admission.images,
            self._admission.bytes,
            held.held_bytes,
            held.count,
            held.streams,
            held.closed,
            cache_hits=cache.hits if cache else 0,
            cache_misses=cache.misses if cache else 0,
            cache_bytes=cache.bytes if cache else 0,
            captured_images=capture.images if capture else 0,
            captured_bytes=capture.bytes if capture else 0,
            capture_dropped=capture.dropped if capture else {},
        )

    async def classify(self, request: ClassifyRequest, call: Call, further_bytes: int = 0) -> Classification:
        """Classifies 1 to N images. The request counts as under way until the call is closed.

        Args:
            request: the images, and the layers that are wanted.
            call: the request's call.
            further_bytes: bytes that the protocol's answer adds for each image, at most.

        Raises:
            PermissionDenied: the caller may not classify, or may not have activations.
            InvalidRequest: it holds no images, too many, or one that can't be read; or names an unknown layer.
            AnswerTooLarge: the wanted activations would pass the message limit; nothing was calculated.
            Overloaded: there is too much to do just now, or the caller has sent too much; nothing was calculated.
        """
        # 1. Plan: the wanted outputs, and the size of the answer.
        call.caller.require(*request.activations.permissions)
        if request.interventions is not None:
            call.caller.require(Permission.INTERVENTIONS)
        model = request.model
        call.model = model.label
        runner = self._runner(model)
        plan = runner.plan(model, request.activations)
        count = self._count_images(request)
        answers = 1  # for each image
        if request.interventions is not None:
            check_interventions(request.interventions, model, count)
            answers = 2 if request.interventions.baseline else 1
        answer_bytes = plan.check_size(count, further_bytes, self.limits.max_message_bytes, answers)
        # 2. Admit: from here on it counts, for the server's load, its caller's rate and the model's statistics.
        call.images, call.answer_bytes = count, answer_bytes
        call.observers = (self._count, *call.observers)
        captured = None if self._capture is None else self._sampled(self._capture, request, runner, count, call)
        request_bytes = max(call.size, _size_of(request))  # a message can have much that is no image
        size, caller = request_bytes + answer_bytes, _name_of(call)
        outputs = plan.outputs
        if captured:
            further = tuple(name for name in captured if name not in outputs)
            outputs, size = (*outputs, *further), size + count * runner.captured.layer_bytes(further)
        call.hold(self._admission.admit(answers * count, size, caller).release)
        if self._rates.limited:
            self._rates.take(caller, count)
        # 3. Prepare: image files become pixels.
        pixels = await self._prepare(request, call) if request.pixels is None else request.pixels
        # 4. Run: together with other callers' images.
        if request.interventions is not None:
            return await self._intervene(request.interventions, model, pixels, plan, call)
        values = await runner.batcher.run(pixels, outputs, call)
        self._admission.took(time.monotonic() - call.begin)
        # 5. Judge: the class of each image, and whether it is a digit at all.
        answer = _judged(model, values, plan.layers)
        call.no_digits = answer.no_digits
        if captured is not None:
            self._keep(_rows_of(runner.captured, answer, pixels, {name: values[name] for name in captured}, call))
        return answer

    @staticmethod
    def _sampled(
        capture: Capture, request: ClassifyRequest, runner: "_ModelRunner", count: int, call: Call
    ) -> Sequence[str] | None:
        """The layers to keep of a request; None: it isn't kept."""
        if request.interventions is not None or Permission.UNCAPTURED in call.caller.permissions:
            return None
        return capture.sampled_layers(runner.captured, count)

    async def _intervene(
        self, interventions: Interventions, model: ServedModel, pixels: npt.NDArray[np.uint8], plan: Plan, call: Call
    ) -> Classification:
        """Runs images with interventions, in batches with other callers' ones, and without, where that is wanted.

        Only the untouched answers tell how many of the images are digits.
        """
        runner = self._runner(model)
        if runner.intervened is None or model.intervened is None:
            raise no_interventions(model)
        await runner.opened(model.intervened)
        values = await runner.intervened.run(rows_of(pixels, interventions), plan.outputs, call)
        await off_loop(sum(each.nbytes for each in values.values()), partial(check_finite, values))
        changed = _judged(model, values, plan.layers)
        if interventions.baseline:
            untouched = await runner.batcher.run(pixels, plan.outputs, call)
            baseline = _judged(model, untouched, plan.layers)
            call.no_digits = baseline.no_digits
            changed = replace(changed, baseline=baseline)
        self._admission.took(time.monotonic() - call.begin)
        return changed

    async def show_preparation(self, model: ServedModel, file: bytes, call: Call) -> ShownPreparation:
        """Prepares an image file, and shows each step. It counts as one image under way until the call is closed.

        Raises:
            PermissionDenied: the caller may not classify.
            InvalidRequest: the file can't be read.
            Overloaded: there is too much to do just now, or the caller has sent too much.
        """
        call.caller.require(Permission.PREDICT)
        call.model = model.label  # and no images: these are counted where they are classified
        size = max(call.size, len(file)) + MOST_SHOWN_BYTES
        call.hold(self._admission.admit(1, size, caller := _name_of(call)).release)
        if self._rates.limited:
            self._rates.take(caller, 1)
        shape, begin = model.metadata.input.shape, time.monotonic()
        try:
            pixels, steps = await self._preparation.show(file, caller, self.limits.max_image_pixels, shape)
        except ImageError as error:
            raise InvalidRequest(error.reason, str(error), "file") from error
        call.passed(Stage.PREPARE, begin, time.monotonic())
        return ShownPreparation(model, pixels, steps)

    async def explain(self, request: ExplainRequest, call: Call) -> Explanation:
        """Divides the scores of 1 to N images among their pixels. It counts as under way until the call is closed.

        Raises:
            PermissionDenied: the caller may not have attributions.
            InvalidRequest: it holds no images, too many, or one that can't be read; or names an unknown class.
            AnswerTooLarge: the answer would pass the message limit.
            Overloaded: there is too much to do just now, or the caller has sent too much; nothing was calculated.
        """
        # 1. Check the request, and the size of the answer.
        call.caller.require(Permission.PREDICT, Permission.ATTRIBUTION)
        model = request.model
        call.model = model.label
        count = self._count_images(request)
        check_classes(request.classes, model, count)
        answer_bytes, limit = explanation_bytes(request, count), self.limits.max_message_bytes
        if answer_bytes > limit:
            raise answer_too_large(answer_bytes, limit, "explain fewer images at a time", "pixels")
        # 2. Admit, as for a classification.
        call.images, call.answer_bytes = count, answer_bytes
        call.observers = (self._count, *call.observers)
        network = Network.of(model)
        size = max(call.size, _size_of(request)) + answer_bytes + count * network.row_bytes
        call.hold(self._admission.admit(count, size, caller := _name_of(call)).release)
        if self._rates.limited:
            self._rates.take(caller, count)
        # 3. Classify, together with other callers' images; then go back from the scores to the pixels.
        pixels = await self._prepare(request, call) if request.pixels is None else request.pixels
        values = await self._runner(model).batcher.run(pixels, network.needed, call)
        begin = time.monotonic()
        explanation = await attribute(request, pixels, values, self._runs, self._explaining)
        call.passed(Stage.COMPUTE, begin, time.monotonic())
        self._admission.took(time.monotonic() - call.begin)
        return explanation

    def parameters(self, name: str, layer: str, call: Call, first_row: int = 0, max_bytes: int = 0) -> ParameterRows:
        """The parameters of a linear layer, or some of its rows. They count as under way until the call is closed.

        Args:
            name: the model's name.
            layer: the layer's name.
            call: the request's call.
            first_row: the first row that is wanted.
            max_bytes: the largest answer: it has the rows that fit into it. 0: all, or none.

        Raises:
            PermissionDenied: the caller may not have parameters.
            InvalidRequest: the model has no such layer, or it stores nothing; or a number is out of its range.
            NotFound: there is no such model.
            AnswerTooLarge: they would pass the message limit, or not even one row fits.
            Overloaded: there is too much to do just now.
        """
        call.caller.require(Permission.PARAMETERS)
        model = self.models.get(name)
        call.model = model.label
        storing = listed(model.parameters)
        if layer not in model.layer_names:
            message = f"no layer is called {quoted(layer)}; those with parameters: {storing}"
            raise InvalidRequest("LAYER_UNKNOWN", message, "layer")
        if layer not in model.parameters:
            message = f"layer {layer!r} stores no parameters, it only calculates; those that do: {storing}"
            raise InvalidRequest("LAYER_STORES_NOTHING", message, "layer")
        rows = rows_within(model.parameters[layer], first_row, max_bytes, self.limits.max_message_bytes)
        size = ENVELOPE_BYTES + rows.weight.nbytes + rows.bias.nbytes
        call.answer_bytes = size
        call.hold(self._admission.admit(0, call.size + size, _name_of(call)).release)
        return ParameterRows(model, rows, len(model.parameters[layer].bias))

    def list_models(self, call: Call) -> Snapshot:
        """The versions that are served at this moment, and those that should be and have failed.

        Raises:
            PermissionDenied: the caller may not see models.
        """
        call.caller.require(Permission.PREDICT)
        return self.models.snapshot

    def model(self, name: str, call: Call, version: str = "") -> ServedModel:
        """The model of a name, or the default for the empty one; its newest version, unless one is named.

        A protocol looks it up once for a request: the model that it was read for is the one that answers it.

        Raises:
            PermissionDenied: the caller may not see models.
            NotFound: there is no such model.
        """
        return self.list_models(call).get(name, version)

    def describe(self, name: str, call: Call, version: str = "") -> ModelDescription:
        """Describes a model, found as `model` does.

        Raises:
            PermissionDenied: the caller may not see models.
            NotFound: there is no such model.
        """
        snapshot = self.list_models(call)
        model = snapshot.get(name, version)
        versions = (model,) if version else snapshot.versions(model.name)
        return ModelDescription(model, versions, self.limits)

    def ready(self, name: str, call: Call, version: str = "") -> bool:
        """True when the service takes requests and a model answers, found as `model` does.

        Raises:
            PermissionDenied: the caller may not see models.
        """
        try:
            self.model(name, call, version)
        except NotFound:
            return False
        return self.readiness.ready

    async def load(self, name: str, call: Call) -> None:
        """Looks at the model repository now; returns when a model's newest version is served.

        Raises:
            PermissionDenied: the caller may not change the server.
            Unsupported: the server has no repository.
            NotFound: the repository has no such model.
            InvalidRequest: its newest version can't be served, or the folder can't be read.
        """
        call.caller.require(Permission.ADMIN)
        if self._load is None:
            raise Unsupported("NO_REPOSITORY", "this server serves one file, and no model repository")
        await self._load(name)

    def _runner(self, model: ServedModel) -> "_ModelRunner":
        """The model's own: models don't share runs. It goes when the model does."""
        runner = self._runners.get(id(model))
        if runner is None:
            ran = partial(self.statistics.ran, model.label)
            inline = inline_rows(model.run_time, self.batching)
            batcher = Batcher(model.engine.run, self._runs, self.batching, ran, inline)
            runner = self._runners[id(model)] = _ModelRunner(self._cached(batcher, model), _described(model))
            finalize(model, self._runners.pop, id(model), None).atexit = False
            if model.intervened is not None:
                changed = IntervenedRun(model.intervened, model.metadata.layers)
                runner.intervened = Batcher(changed, self._runs, self.batching, ran)  # in threads: changes are gathered
        return runner

    def _cached(self, batcher: Batcher, model: ServedModel) -> Batcher | CachedBatcher:
        """A model's batcher, behind the cache where there is one."""
        if self._cache is None:
            return batcher
        return CachedBatcher(batcher, self._cache, model, partial(self.statistics.looked_up, model.label))

    def _count_images(self, request: ImagesRequest) -> int:
        images, field = (request.pixels, "pixels") if request.pixels is not None else (request.files, "files")
        count = 0 if images is None else len(images)
        if count == 0:
            raise InvalidRequest("NO_IMAGES", "the request has no images: send at least one", field)
        if count > self.limits.max_images:
            message = f"the request has {count} images, and at most {self.limits.max_images} are taken: split it"
            raise InvalidRequest("TOO_MANY_IMAGES", message, field)
        return count

    async def _prepare(self, request: ImagesRequest, call: Call) -> npt.NDArray[np.uint8]:
        begin, shape, caller = time.monotonic(), request.model.metadata.input.shape, _name_of(call)
        rows: list[npt.NDArray[np.uint8]] = []
        for index, file in enumerate(request.files or ()):
            try:
                rows.append(await self._preparation.prepare(file, caller, self.limits.max_image_pixels, shape))
            except ImageError as error:
                raise InvalidRequest(error.reason, str(error), f"files[{index}]") from error
        call.passed(Stage.PREPARE, begin, time.monotonic())
        return np.stack(rows)  # (N, height, width)


class _ModelRunner:
    """A model's batchers, and the plans for the layers that it was asked for."""

    def __init__(self, batcher: Batcher | CachedBatcher, captured: CapturedModel) -> None:
        self.batcher = batcher
        self.captured = captured
        """The model as captured images name it."""
        self.intervened: Batcher | None = None
        """Batches rows with interventions; None: the model can't be run with any."""
        self._plans: dict[LayerSelection, Plan] = {}
        self._opening: asyncio.Future[None] | None = None

    async def opened(self, intervened: IntervenedRunner) -> None:
        """Opens what runs interventions, once, in a helper thread: those of the runs go on with plain requests.

        All who need it meanwhile wait for the same opening. One that fails is tried again by the next request.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = asyncio.ensure_future(asyncio.to_thread(intervened.open))
        if not self._opening.done():
            await asyncio.wait((self._opening,))  # a caller that goes ends its own wait only
        self._opening.result()

    @property
    def batchers(self) -> list[Batcher | CachedBatcher]:
        """Both."""
        return [self.batcher] if self.intervened is None else [self.batcher, self.intervened]

    def plan(self, model: ServedModel, selection: LayerSelection) -> Plan:
        """The plan for a selection. The model isn't kept here, or it would never be let go."""
        plan = self._plans.get(selection)
        if plan is None:
            plan = Plan.of(model, selection)
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[selection] = plan
        return plan


def _name_of(call: Call) -> str:
    """The name that tells a caller from others: its token's, or its address where there are no tokens."""
    return caller_at(call.address()) if call.caller is ANYONE else call.caller.name


def _size_of(request: ImagesRequest) -> int:
    return sum(map(len, request.files or ())) if request.pixels is None else request.pixels.nbytes


def _described(model: ServedModel) -> CapturedModel:
    """A model as captured images name it."""
    metadata = model.metadata
    return CapturedModel(
        model.name,
        model.version,
        model.label,
        model.digest,
        tuple(metadata.classes),
        metadata.input.shape,
        tuple((layer.name, math.prod(layer.shape)) for layer in metadata.layers),
        metadata.novelty_threshold is not None,
    )


def _rows_of(
    model: CapturedModel,
    answer: Classification,
    pixels: npt.NDArray[np.uint8],
    activations: Mapping[str, npt.NDArray[np.float32]],
    call: Call,
) -> Rows:
    """An answer as it is captured: with neither the token nor the address of its caller."""
    return Rows(
        model,
        call.request_id,
        time.time(),
        pixels,
        answer.digits,
        answer.probabilities,
        answer.novelty,
        answer.is_digit,
        activations,
    )


def _judged(model: ServedModel, values: Mapping[str, npt.NDArray[np.float32]], layers: Sequence[str]) -> Classification:
    """The answer that the model's outputs make."""
    probabilities = values[model.layer_names[-1]]  # (N, classes)
    activations = {name: values[name] for name in layers}
    digits, threshold = probabilities.argmax(axis=1), model.metadata.novelty_threshold  # (N,)
    if threshold is None:
        return Classification(model, digits, probabilities, activations)
    novelty = values[NOVELTY]  # (N,)
    is_digit = novelty.astype(np.float64) <= threshold  # exactly: in float32 the threshold might be rounded beyond it
    return Classification(model, digits, probabilities, activations, novelty, is_digit)
