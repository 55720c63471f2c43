"""Which versions are served, as a table: what lies in the repository, what was served before, what is served then."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vitrine.server.bundled import bundled_model
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.errors import StartupError
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.rollout import GONE, default_of, plan
from vitrine.server.models.scan import ModelFolder, VersionFolder
from vitrine.server.models.snapshot import Entry, EntryState, ServedModel
from vitrine.server.models.version_policy import VersionPolicy

METADATA = read_artifact(bundled_model()).metadata
A, K, F = EntryState.AVAILABLE, EntryState.KEPT, EntryState.FAILED
CHANGED = "its files have changed, and it answers as it was before: bad"


def served(label: str) -> ServedModel:
    engine: Any = None
    name, _, version = label.partition("@")
    return ServedModel(name, version, METADATA, {}, engine)


def folder(*versions: int, unreadable: str = "") -> ModelFolder:
    return ModelFolder(tuple(VersionFolder(n, Path(str(n)), (None, None)) for n in versions), unreadable)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    found: dict[str, ModelFolder]
    expected: list[tuple[str, EntryState, str]]
    """NAME@VERSION, its state, and why."""
    before: list[str] = field(default_factory=list)
    """NAME@VERSION of what answered before."""
    bad: set[str] = field(default_factory=set)
    """NAME@VERSION of what doesn't load."""
    policy: str = "latest:1"
    default: str = ""
    asked: list[str] | None = None
    """NAME@VERSION of what is loaded, in turn; None: every version that is found."""


CASES = {
    "the newest version": Case({"a": folder(1, 3, 2)}, [("a@3", A, "")], asked=["a@3"]),
    "the newest that loads, and why no newer one": Case(
        {"a": folder(1, 2, 3)}, [("a@3", F, "bad"), ("a@2", A, "")], bad={"a@3"}, asked=["a@3", "a@2"]
    ),
    "so many versions": Case(
        {"a": folder(1, 2, 3)}, [("a@3", A, ""), ("a@2", A, "")], policy="latest:2", asked=["a@3", "a@2"]
    ),
    "all versions": Case({"a": folder(2, 10)}, [("a@10", A, ""), ("a@2", A, "")], policy="all"),
    "certain versions": Case(
        {"a": folder(1, 2)}, [("a@3", F, "there is no a/3/model.onnx"), ("a@1", A, "")], policy="1,3", asked=["a@1"]
    ),
    "every model": Case({"a": folder(1), "b": folder(2)}, [("a@1", A, ""), ("b@2", A, "")]),
    "a version whose files were broken": Case({"a": folder(1)}, [("a@1", K, CHANGED)], before=["a@1"], bad={"a@1"}),
    "a version that has gone before its successor loads": Case(
        {"a": folder(2)}, [("a@2", F, "bad"), ("a@1", K, GONE)], before=["a@1"], bad={"a@2"}
    ),
    "a version that has gone after its successor": Case({"a": folder(2)}, [("a@2", A, "")], before=["a@2", "a@1"]),
    "a folder that can't be read": Case(
        {"a": folder(unreadable="denied"), "b": folder(unreadable="denied")},
        [("a@1", K, "denied"), ("b@", F, "denied")],
        before=["a@1"],
    ),
    "a model that has gone": Case({"b": folder(1)}, [("b@1", A, "")], before=["a@1", "b@1"]),
    "the default model that has gone": Case(
        {"b": folder(1)}, [("b@1", A, ""), ("a@1", K, GONE)], before=["a@1", "b@1"], default="a"
    ),
    "all models have gone": Case({}, [("a@1", K, GONE), ("b@1", K, GONE)], before=["a@1", "b@1"]),
    "nothing": Case({}, []),
}


@pytest.mark.parametrize("what", CASES)
def test_what_is_served(what: str) -> None:
    case = CASES[what]
    asked: list[str] = []

    def outcomes(name: str, version: VersionFolder) -> ServedModel | str:
        label = f"{name}@{version.number}"
        asked.append(label)
        return "bad" if label in case.bad else served(label)

    config = RepositoryConfig(Path("root"), VersionPolicy.parse(case.policy), case.default)
    entries = plan(case.found, outcomes, [Entry.of(served(label)) for label in case.before], config)
    assert [(f"{entry.name}@{entry.version}", entry.state, entry.reason) for entry in entries] == case.expected
    every = [f"{name}@{version.number}" for name, found in case.found.items() for version in found.versions]
    assert sorted(asked) == sorted(every if case.asked is None else case.asked)


def test_the_default_is_the_one_that_is_named_or_the_first_that_answers() -> None:
    entries = [Entry("a", "1", None, "bad"), Entry.of(served("b@1")), Entry.of(served("c@1"))]
    assert default_of(entries, RepositoryConfig(Path("root"))) == "b"
    assert default_of(entries, RepositoryConfig(Path("root"), default="c")) == "c"
    with pytest.raises(StartupError, match=r"'a' isn't served: a@1: bad; served: b, c"):
        default_of(entries, RepositoryConfig(Path("root"), default="a"))
    with pytest.raises(StartupError, match="nothing in the model repository root can be served: a@1: bad"):
        default_of(entries[:1], RepositoryConfig(Path("root")))
