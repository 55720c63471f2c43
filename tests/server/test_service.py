"""The service by itself, called as a front end's protocol would: its permissions, its plans and its readiness."""

import asyncio
import re
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.artifacts import random_pixels
from support.publishing import publish
from support.serving import PATIENCE_SECONDS, is_let_go

from vitrine.model import TOLERANCE
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import AnswerTooLarge, InvalidRequest, PermissionDenied, Unsupported
from vitrine.server.inference.attribution import Network
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.config import Limits
from vitrine.server.inference.plan import Plan
from vitrine.server.inference.requests import (
    AttributionMethod,
    Change,
    Classification,
    ClassifyRequest,
    ExplainRequest,
    Interventions,
    LayerSelection,
)
from vitrine.server.inference.service import MAX_PLANS, Service
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.snapshot import Entry, IntervenedRunner, Models, ServedModel, Snapshot
from vitrine.server.opening import open_service
from vitrine.server.security.access import Caller, Permission
from vitrine.server.service_config import ServiceConfig

EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
ALL_LAYERS = LayerSelection(every=True)
ONE_LAYER = LayerSelection(names=("relu_1",))
EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> ServedModel:
    return load_artifact(tiny_artifact, Device.CPU)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service of a repository with one model, `tiny`."""
    publish(tmp_path, "tiny", 1)
    async with open_service(ServiceConfig(repository=RepositoryConfig(tmp_path, reload_seconds=0))) as opened:
        yield opened


def a_call_of(*permissions: Permission) -> Call:
    return Call("/test/Test", Caller("somebody", frozenset(permissions)))


def one_image(model: ServedModel, layers: LayerSelection) -> ClassifyRequest:
    return ClassifyRequest(model, pixels=random_pixels(1), activations=layers)


def silenced(model: ServedModel) -> ClassifyRequest:
    return ClassifyRequest(
        model, pixels=random_pixels(1), interventions=Interventions([[Change("relu_1", None, scale=0.0)]])
    )


METHODS: dict[str, tuple[Callable[[Service, Call], Any], set[Permission]]] = {
    "classify": (
        lambda service, call: service.classify(one_image(service.models.get(""), LayerSelection()), call),
        {Permission.PREDICT},
    ),
    "classify with all activations": (
        lambda service, call: service.classify(one_image(service.models.get(""), ALL_LAYERS), call),
        {Permission.PREDICT, Permission.ACTIVATIONS},
    ),
    "classify with one layer's activations": (
        lambda service, call: service.classify(one_image(service.models.get(""), ONE_LAYER), call),
        {Permission.PREDICT, Permission.ACTIVATIONS},
    ),
    "classify with interventions": (
        lambda service, call: service.classify(silenced(service.models.get("")), call),
        {Permission.PREDICT, Permission.INTERVENTIONS},
    ),
    "explain": (
        lambda service, call: service.explain(ExplainRequest(service.models.get(""), random_pixels(1)), call),
        {Permission.PREDICT, Permission.ATTRIBUTION},
    ),
    "show_preparation": (
        lambda service, call: service.show_preparation(service.models.get(""), EIGHT.read_bytes(), call),
        {Permission.PREDICT},
    ),
    "parameters": (lambda service, call: service.parameters("", "linear_1", call), {Permission.PARAMETERS}),
    "list_models": (lambda service, call: service.list_models(call), {Permission.PREDICT}),
    "model": (lambda service, call: service.model("", call), {Permission.PREDICT}),
    "describe": (lambda service, call: service.describe("", call), {Permission.PREDICT}),
    "ready": (lambda service, call: service.ready("nobody", call), {Permission.PREDICT}),
    "load": (lambda service, call: service.load("tiny", call), {Permission.ADMIN}),
}
"""Every method that a front end may call, and the permissions that it takes."""


@pytest.mark.parametrize("what", METHODS)
async def test_a_method_takes_each_of_its_permissions_and_no_other(service: Service, what: str) -> None:
    method, needed = METHODS[what]

    async def answer(*permissions: Permission) -> None:
        outcome = method(service, a_call_of(*permissions))
        if isawaitable(outcome):
            await outcome

    await answer(*needed)
    for lacking in needed:
        with pytest.raises(PermissionDenied, match=lacking.value):
            await answer(*(set(Permission) - {lacking}))


def test_every_method_of_the_service_is_in_the_table() -> None:
    public = {name for name, value in vars(Service).items() if callable(value) and not name.startswith("_")}
    assert public == {what.partition(" ")[0] for what in METHODS}


async def test_without_a_repository_nothing_is_loaded(tiny_artifact: Path) -> None:
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        with pytest.raises(Unsupported) as caught:
            await service.load("tiny", a_call_of(Permission.ADMIN))
    assert caught.value.reason == "NO_REPOSITORY"


async def test_paths_may_be_texts(tiny_artifact: Path, tmp_path: Path) -> None:
    tokens, file = tmp_path / "tokens", tmp_path / "models" / "tiny" / "1" / "model.onnx"
    tokens.write_text(f"ann {'0' * 64} predict\n")
    file.parent.mkdir(parents=True)
    file.write_bytes(tiny_artifact.read_bytes())
    repository = RepositoryConfig(str(tmp_path / "models"), reload_seconds=0)
    for config in (ServiceConfig(str(tiny_artifact), tokens=str(tokens)), ServiceConfig(repository=repository)):
        async with open_service(config) as service:
            assert service.models.get("").name == "tiny"


def test_it_is_ready_from_its_start_until_it_leaves(service: Service) -> None:
    def ready(name: str = "") -> bool:
        return service.ready(name, a_call_of(Permission.PREDICT))

    assert not ready()
    changed = service.readiness.changed
    service.readiness.start()
    assert changed.is_set()
    assert ready()
    assert not ready("another model")
    service.readiness.leave()
    assert not ready()
    service.readiness.start()  # it leaves for good
    assert not ready()


async def test_statistics_count_whatever_front_end_made_the_call(service: Service, model: ServedModel) -> None:
    told: list[Call] = []
    call = a_call_of(*Permission)
    call.observers = [told.append]
    await service.classify(one_image(model, LayerSelection()), call)
    call.close()
    assert told == [call]
    assert service.statistics.of(model.label).failure.count == 1  # nobody said that it was answered


async def test_a_plan_is_made_once_for_a_selection(
    service: Service, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LayerSelection] = []
    make = Plan.of

    def counted(model: ServedModel, selection: LayerSelection) -> Plan:
        made.append(selection)
        return make(model, selection)

    monkeypatch.setattr("vitrine.server.inference.service.Plan.of", counted)
    for layers in (ALL_LAYERS, LayerSelection(), LayerSelection(every=True), LayerSelection()):
        answer = await service.classify(one_image(model, layers), a_call_of(*Permission))
        assert list(answer.activations) == (list(model.layer_names) if layers.every else [])
    assert made == [ALL_LAYERS, LayerSelection()]


async def test_plans_are_few_however_callers_combine_layers(service: Service, model: ServedModel) -> None:
    for count in range(1, MAX_PLANS + 10):
        selection = LayerSelection(names=("relu_1",) * count)
        answer = await service.classify(one_image(model, selection), a_call_of(*Permission))
        assert list(answer.activations) == ["relu_1"]
    (runner,) = service._runners.values()
    assert len(runner._plans) <= MAX_PLANS


async def test_as_many_images_as_the_refusal_of_a_large_answer_says_are_taken(
    tiny_artifact: Path, model: ServedModel
) -> None:
    """With interventions, each image has two answers."""
    changed = Interventions([[Change("relu_1", None, scale=0.0)]])
    limits = Limits(max_message_bytes=1 << 20)
    async with open_service(ServiceConfig(tiny_artifact, limits=limits)) as service:

        async def ask(images: int, interventions: Interventions | None) -> None:
            pixels = random_pixels(images)
            request = ClassifyRequest(
                service.models.get(""), pixels, activations=ALL_LAYERS, interventions=interventions
            )
            with closing(a_call_of(*Permission)) as call:
                await service.classify(request, call)

        for interventions in (None, changed):
            with pytest.raises(AnswerTooLarge) as caught:
                await ask(1024, interventions)
            fitting = int(re.findall(r"ask for (\d+) images at a time", str(caught.value))[0])
            await ask(fitting, interventions)
            with pytest.raises(AnswerTooLarge):
                await ask(fitting + 1, interventions)


async def test_a_bad_selection_is_refused_each_time(service: Service, model: ServedModel) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequest) as caught:
            await service.classify(one_image(model, LayerSelection(names=("relu_9",))), a_call_of(*Permission))
        assert (caught.value.reason, caught.value.field) == ("LAYER_UNKNOWN", "activations.names[0]")


async def test_a_service_that_is_closed_leaves_no_caller_waiting(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models share one thread here: a run is under way, one waits for the thread, and rows wait for a run."""
    begun, go_on = threading.Semaphore(0), threading.Event()
    async with open_service(ServiceConfig(tiny_artifact, threads=1)) as service:
        one = service.models.get("")
        other = replace(one, version="1")
        run = one.engine.run

        def held_up(*arguments: Any) -> Any:
            begun.release()
            go_on.wait()
            return run(*arguments)

        monkeypatch.setattr(one.engine, "run", held_up)
        calls = [
            asyncio.ensure_future(service.classify(one_image(model, LayerSelection()), a_call_of(*Permission)))
            for model in (one, other, one, other)
        ]
        await asyncio.to_thread(begun.acquire)
    go_on.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE_SECONDS)
    assert [type(outcome) for outcome in outcomes] == [Classification, Classification, RuntimeError, RuntimeError]


class SlowlyOpened:
    """A runner with interventions whose opening waits until it may go on, or fails as often as it is told to.

    Args:
        runner: opens and runs.
        failures: openings that fail.
    """

    def __init__(self, runner: IntervenedRunner, failures: int = 0) -> None:
        self._runner = runner
        self.failures = failures
        self.openings = 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def open(self) -> None:
        self.openings += 1
        self.begun.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("can't be opened")
        self._runner.open()

    def run(self, *arguments: Any) -> Any:
        return self._runner.run(*arguments)


async def test_plain_requests_are_answered_while_the_session_for_interventions_is_opened(tiny_artifact: Path) -> None:
    async with open_service(ServiceConfig(tiny_artifact, threads=1)) as service:
        served = service.models.get("")
        assert served.intervened is not None
        slow = SlowlyOpened(served.intervened)
        model = replace(served, intervened=slow)
        changed = [asyncio.ensure_future(service.classify(silenced(model), a_call_of(*Permission))) for _ in range(3)]
        await asyncio.to_thread(slow.begun.wait, PATIENCE_SECONDS)
        plain = service.classify(one_image(model, ALL_LAYERS), a_call_of(*Permission))
        await asyncio.wait_for(plain, PATIENCE_SECONDS)
        changed.pop().cancel()
        assert not any(waiting.done() for waiting in changed)
        slow.go_on.set()
        for answer in await asyncio.wait_for(asyncio.gather(*changed), PATIENCE_SECONDS):
            assert not answer.activations
        assert slow.openings == 1


async def test_an_opening_that_failed_is_tried_again(tiny_artifact: Path) -> None:
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        served = service.models.get("")
        assert served.intervened is not None
        slow = SlowlyOpened(served.intervened, failures=1)
        slow.go_on.set()
        model = replace(served, intervened=slow)
        with pytest.raises(RuntimeError, match="can't be opened"):
            await service.classify(silenced(model), a_call_of(*Permission))
        await service.classify(silenced(model), a_call_of(*Permission))
        assert slow.openings == 2


@pytest.mark.parametrize("method", AttributionMethod)
async def test_runs_and_other_explanations_come_between_the_slices_of_one(
    tiny_artifact: Path, method: AttributionMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "slice_rows", 5)  # an image of integrated gradients is in several slices
    async with open_service(ServiceConfig(tiny_artifact, threads=1)) as service:
        model, pixels = service.models.get(""), random_pixels(40)
        together = await service.explain(ExplainRequest(model, pixels, method=method), a_call_of(*Permission))
        long = asyncio.ensure_future(
            service.explain(ExplainRequest(model, pixels, method=method), a_call_of(*Permission))
        )
        await asyncio.sleep(0)
        await service.explain(ExplainRequest(model, pixels[:1], method=method), a_call_of(*Permission))
        await service.classify(one_image(model, ALL_LAYERS), a_call_of(*Permission))
        assert not long.done()
        again = await long
    np.testing.assert_array_equal(again.contributions, together.contributions)
    np.testing.assert_allclose(again.contributions.sum(axis=(1, 2)) + again.biases, again.scores, atol=TOLERANCE)


async def test_an_explanation_whose_caller_has_gone_ends_with_its_slice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided, model = 0, service.models.get("")
    begun, go_on = threading.Event(), threading.Event()
    backward = Network.backward

    def held_up(*arguments: Any) -> Any:
        nonlocal divided
        divided += 1
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return backward(*arguments)

    monkeypatch.setattr(Network, "backward", held_up)
    monkeypatch.setattr(Network, "slice_rows", 1)
    request = ExplainRequest(model, random_pixels(40), method=AttributionMethod.INTEGRATED_GRADIENTS)
    gone = asyncio.ensure_future(service.explain(request, a_call_of(*Permission)))
    await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    go_on.set()
    await service.explain(ExplainRequest(model, random_pixels(1)), a_call_of(*Permission))  # after what was under way
    assert divided == 2


async def test_a_caller_that_leaves_keeps_the_turn_until_its_slice_has_ended(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or slices that nobody waits for would fill all threads for models."""
    under_way, most, lock = 0, 0, threading.Lock()
    begun, go_on = threading.Event(), threading.Event()
    backward = Network.backward

    def held_up(*arguments: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        with lock:
            under_way -= 1
        return backward(*arguments)

    monkeypatch.setattr(Network, "backward", held_up)
    async with open_service(ServiceConfig(tiny_artifact, threads=4)) as service:  # two of them run models
        model, pixels = service.models.get(""), random_pixels(1)
        gone = asyncio.ensure_future(service.explain(ExplainRequest(model, pixels), a_call_of(*Permission)))
        await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        other = asyncio.ensure_future(service.explain(ExplainRequest(model, pixels), a_call_of(*Permission)))
        for _ in range(3):  # in the other thread, behind the run of that explanation
            await service.classify(ClassifyRequest(model, pixels=pixels), a_call_of(*Permission))
        go_on.set()
        await other
    assert most == 1


async def test_only_untouched_answers_tell_how_many_images_are_digits(judging_artifact: Path) -> None:
    """A changed network may take a digit for none, which says nothing of the image."""
    plain, alone, beside = (a_call_of(*Permission) for _ in range(3))
    silent, pixels = [[Change("relu_2", None, scale=0.0)]], random_pixels(16)
    async with open_service(ServiceConfig(judging_artifact)) as service:
        model = service.models.get("")
        await service.classify(ClassifyRequest(model, pixels=pixels), plain)
        for call, baseline in ((alone, False), (beside, True)):
            changes = Interventions(silent, baseline=baseline)
            changed = await service.classify(ClassifyRequest(model, pixels=pixels, interventions=changes), call)
            assert changed.is_digit is not None
            assert changed.no_digits != plain.no_digits
    assert (alone.no_digits, beside.no_digits) == (None, plain.no_digits)


async def test_the_activations_that_an_explanation_is_made_of_count_as_memory(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer can be far wider than the input, whose size the answer has."""
    model, pending = service.models.get(""), []
    run = model.engine.run

    def looking(*arguments: Any) -> Any:
        pending.append(service.workload.bytes)
        return run(*arguments)

    monkeypatch.setattr(model.engine, "run", looking)
    call = a_call_of(*Permission)
    await service.explain(ExplainRequest(model, random_pixels(100)), call)
    assert pending[0] >= call.answer_bytes + 100 * 324 + 100 * 4 * (324 + 32 + 16 + 10)
    call.close()
    assert service.workload.bytes == 0


async def test_dividing_the_scores_counts_as_computing(tiny_artifact: Path) -> None:
    async with open_service(ServiceConfig(tiny_artifact, cache_bytes=1 << 20)) as service:
        for _ in range(2):  # the second one's activations are kept
            call = a_call_of(*Permission)
            await service.explain(ExplainRequest(service.models.get(""), random_pixels(1)), call)
    assert set(call.times) == {Stage.COMPUTE}


async def test_showing_a_preparation_counts_no_classified_image(service: Service) -> None:
    call = a_call_of(*Permission)
    shown = await service.show_preparation(service.models.get(""), EIGHT.read_bytes(), call)
    assert shown.steps
    assert call.images == 0


async def test_a_model_that_is_no_longer_served_is_let_go(model: ServedModel, service: Service) -> None:
    gone = replace(model, version="1")
    models = service.models = Models.of(gone)
    await service.classify(one_image(gone, ALL_LAYERS), a_call_of(*Permission))
    await service.classify(silenced(gone), a_call_of(*Permission))
    await service.explain(ExplainRequest(gone, random_pixels(1)), a_call_of(*Permission))
    models.replace(Snapshot([Entry.of(model)], model.name))
    watched = weakref.ref(gone)
    del gone
    assert await asyncio.to_thread(is_let_go, watched)
