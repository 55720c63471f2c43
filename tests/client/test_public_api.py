"""The promises of `vitrine.client`: its names, and two clients that differ by `await` alone."""

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

import vitrine.client
from vitrine.client import AsyncClient, Client, ServiceError, VitrineError
from vitrine.client.errors import ERROR_OF_STATUS

METHODS = ["classify", "classify_many", "close", "explain", "health", "model", "models", "parameters"]


def test_the_public_names_are_these() -> None:
    assert vitrine.client.__all__ == [
        "TLS",
        "Activations",
        "AnswerError",
        "AsyncClient",
        "AuthenticationError",
        "CallCancelledError",
        "Client",
        "ConflictError",
        "DeadlineError",
        "Explanation",
        "Health",
        "ImageError",
        "Intervention",
        "InvalidRequestError",
        "Layer",
        "LayerKind",
        "LimitError",
        "Limits",
        "Model",
        "ModelIdentity",
        "ModelInput",
        "ModelSummary",
        "NotFoundError",
        "Parameters",
        "PermissionDeniedError",
        "Prediction",
        "ServerError",
        "ServiceError",
        "TrainingFacts",
        "UnavailableError",
        "UnsupportedError",
        "UsageError",
        "VitrineError",
        "compare",
        "plot_prediction",
        "render_pixels",
        "render_strips",
        "scale",
        "set_units",
        "zero",
    ]


def types_in(hint: Any) -> Iterator[type]:
    """The classes that an annotation names, also inside `tuple[…]` or a union."""
    if isinstance(hint, type) and not get_args(hint):
        yield hint
    for part in get_args(hint):
        yield from types_in(part)


def reached_types() -> set[type]:
    """Vitrine's own classes that a user meets: in the clients' methods, and in the fields of their results."""
    waiting = [getattr(vitrine.client, name) for name in vitrine.client.__all__]
    reached: set[type] = set()
    while waiting:
        found = waiting.pop()
        hints: list[Any] = []
        if inspect.isfunction(found):
            hints += get_type_hints(found).values()
        if inspect.isclass(found):
            if found in reached or not found.__module__.startswith("vitrine."):
                continue
            reached.add(found)
            members = {**vars(found)}
            hints += get_type_hints(found).values() if is_dataclass(found) else ()
            public = [member for name, member in members.items() if not name.startswith("_")]
            waiting += [member for member in public if inspect.isfunction(member)]
            waiting += [member.fget for member in public if isinstance(member, property)]
        waiting += [kind for hint in hints for kind in types_in(hint)]
    return reached


def test_every_type_that_a_user_meets_is_public() -> None:
    reached = reached_types()
    assert {vitrine.client.Model, vitrine.client.ModelInput, vitrine.client.Layer} <= reached
    assert {kind for kind in reached if kind.__name__ not in vitrine.client.__all__} == set()


def public_methods(client: type) -> list[str]:
    return sorted(name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_"))


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_both_clients_have_these_methods(client: type) -> None:
    assert public_methods(client) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_both_clients_take_the_same_arguments(method: str) -> None:
    ours, theirs = (inspect.signature(getattr(client, method)).parameters for client in (Client, AsyncClient))
    assert list(ours) == list(theirs)
    for name in ours:
        assert ours[name].kind == theirs[name].kind
        assert ours[name].default == theirs[name].default
        if name != "images":  # the async client takes async iterables as well
            assert ours[name].annotation == theirs[name].annotation


def test_both_clients_are_built_alike() -> None:
    assert inspect.signature(Client) == inspect.signature(AsyncClient)


def test_everything_public_says_what_it_is() -> None:
    for name in vitrine.client.__all__:
        assert inspect.getdoc(getattr(vitrine.client, name)), name


def test_every_error_is_drawn_in_the_tree() -> None:
    tree = vitrine.client.errors.__doc__ or ""
    classes = {getattr(vitrine.client, name) for name in vitrine.client.__all__ if name.endswith("Error")}
    assert all(issubclass(error, VitrineError) for error in classes)
    assert all(error.__name__ in tree for error in classes)
    assert {error for error in classes if issubclass(error, ServiceError)} == {ServiceError, *ERROR_OF_STATUS.values()}
