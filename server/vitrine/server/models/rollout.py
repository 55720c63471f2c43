"""Decides which versions in a model repository are served. It loads nothing itself, keeps no state, and logs nothing.

The repository's content alone decides, so that a server that is started again serves the same: of each model the newest
versions that load, as many as the policy has. The past counts only where nothing else could answer: a version whose
files were changed into something that fails answers on as it was, and so does the last version of the default model,
or of all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from vitrine.server.errors import StartupError, listed, quoted
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.scan import ARTIFACT, ModelFolder, VersionFolder
from vitrine.server.models.snapshot import Entry, ServedModel
from vitrine.server.models.version_policy import VersionPolicy

GONE = "it isn't in the repository any more, and answers on since nothing else could"
"""Why a version is served that isn't in the repository."""


Attempt: TypeAlias = ServedModel | str
"""The result of loading a version: the model, or why it can't be served."""

TryVersion: TypeAlias = Callable[[str, VersionFolder], Attempt]
"""Loads a version of a model, by its name and its folder, unless that was done before."""


def plan(
    found: Mapping[str, ModelFolder], outcomes: TryVersion, previous: Iterable[Entry], config: RepositoryConfig
) -> list[Entry]:
    """The versions to list from now on, each model's newest first, with the model that answers for each.

    Args:
        found: the models in the repository, by name.
        outcomes: gives the outcome of loading a version; asked only for versions that the policy comes to.
        previous: the versions that were listed until now.
        config: the policy, and the default model.
    """
    # 1. Of each model in the repository: the newest versions that load, as many as the policy has.
    answering = [entry for entry in previous if entry.model]
    entries: list[Entry] = []
    for name, folder in found.items():
        before = [entry for entry in answering if entry.name == name]
        entries += _plan_model(name, folder, outcomes, before, config.policy)
    # 2. Of models that have gone: the default, and all of them where nothing else could answer.
    nothing_else = not any(entry.model for entry in entries)
    for entry in answering:
        if entry.name not in found and (nothing_else or entry.name == config.default):
            entries.append(_kept(entry, GONE))
    return entries


def _plan_model(
    name: str, folder: ModelFolder, outcomes: TryVersion, before: Sequence[Entry], policy: VersionPolicy
) -> list[Entry]:
    """A model's versions, newest first, down to the last that the policy has."""
    if folder.unreadable:
        return [_kept(entry, folder.unreadable) for entry in before] or [Entry(name, "", None, folder.unreadable)]
    there = {version.number: version for version in folder.versions}
    entries: list[Entry] = []
    answering = 0
    for number in policy.wanted(there):
        if answering == policy.most:
            break
        entries.append(_plan_version(name, number, there.get(number), outcomes, before))
        answering += entries[-1].model is not None
    if answering:
        return entries
    # Nothing of it loads any more: the versions that were served answer on, among those that fail.
    versions = {entry.version: entry for entry in (*entries, *(_kept(entry, GONE) for entry in before))}
    return [versions[version] for version in sorted(versions, key=int, reverse=True)]


def _plan_version(
    name: str, number: int, folder: VersionFolder | None, outcomes: TryVersion, before: Sequence[Entry]
) -> Entry:
    """One version: as its files are, or as it was before they were changed into something that fails."""
    version = str(number)
    if folder is None:
        return Entry(name, version, None, f"there is no {name}/{version}/{ARTIFACT}")
    outcome = outcomes(name, folder)
    if isinstance(outcome, ServedModel):
        return Entry(name, version, outcome)
    for entry in before:
        if entry.version == version:
            return _kept(entry, f"its files have changed, and it answers as it was before: {outcome}")
    return Entry(name, version, None, outcome)


def _kept(entry: Entry, reason: str) -> Entry:
    """The same model, which answers on for a reason."""
    return Entry(entry.name, entry.version, entry.model, reason)


def default_of(entries: Iterable[Entry], config: RepositoryConfig) -> str:
    """The model that answers requests that name none. Once there is one, there is always one.

    Raises:
        StartupError: nothing can be served, or not the default model.
    """
    served = sorted({entry.name for entry in entries if entry.model})
    failures = [f"{entry.name}@{entry.version}: {entry.reason}" for entry in entries if entry.model is None]
    if not served:
        why = "; ".join(failures) or f"there is no NAME/VERSION/{ARTIFACT}"
        raise StartupError(f"nothing in the model repository {config.root} can be served: {why}")
    default = config.default or served[0]
    if default not in served:
        why = "; ".join([*failures, f"served: {listed(served)}"])
        raise StartupError(f"the default model {quoted(default)} isn't served: {why}")
    return default
