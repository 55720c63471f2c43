"""Serves what lies in a repository, and goes on serving what lies there as it changes.

What is served is decided by what lies there alone, so that a server that is started again serves the same: of each
model the newest versions that load, as many as the policy has. A version that fails is listed with the reason, and
tried again once its files change. Memory helps out only where nothing else could answer: a version whose files were
changed into something that fails answers on as it was, and so does the last version of the default model, or of all.

The folder is looked at every few seconds. An event of the file system would say that something changed, not what, and
network and container mounts often send none.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from vitrine.model import VitrineError
from vitrine.server.errors import InvalidRequest, NotFound, StartupError, listed, quoted
from vitrine.server.models.scan import ARTIFACT, ModelFolder, VersionFolder, scan
from vitrine.server.models.snapshot import Entry, Models, ServedModel, Snapshot
from vitrine.server.models.version_policy import VersionPolicy

logger = logging.getLogger(__name__)

Load: TypeAlias = Callable[[Path, str, str], ServedModel]
"""Makes a served model of a file, a name and a version; what it raises says why it can't."""


LoadModel: TypeAlias = Callable[[str], Awaitable[None]]
"""Looks at once whether the newest version of a model lies there that can be served: `loading_in` makes one."""

RELOAD_SECONDS = 2.0
"""How often a repository is looked at, unless that is set."""

GONE = "it isn't in the repository any more, and answers on since nothing else could"
"""Why a version is served that doesn't lie there."""


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """Which repository is served, and how."""

    root: Path
    """The folder of NAME/VERSION/model.onnx."""
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    """Which versions of each model are served."""
    default: str = ""
    """The model that answers requests that name none; empty: the first by name."""
    reload_seconds: float = RELOAD_SECONDS
    """How often the folder is looked at; 0: once, at the start."""


class ServedRepository:
    """A repository whose models are served.

    Args:
        config: which one, and how.
        load: loads a version.

    Raises:
        StartupError: nothing in it loads, or the default model doesn't.
    """

    def __init__(self, config: RepositoryConfig, load: Load) -> None:
        self._config = config
        self._load = load
        self._tried: dict[VersionFolder, Entry] = {}
        self._faults: dict[VersionFolder, str] = {}
        self._entries: tuple[Entry, ...] = ()
        self._looking = threading.Lock()
        snapshot = self._look()
        self.models = Models(snapshot.default)
        """What is served; `refresh` changes it."""
        self.models.replace(snapshot)

    def refresh(self) -> None:
        """Serves what lies there now. Loads first and lets go afterwards, which takes time: call it in a thread.

        Raises:
            StartupError: the folder can't be read; nothing has changed.
        """
        with self._looking:
            self.models.replace(self._look())

    def load(self, name: str) -> None:
        """Serves what lies there now, and tells whether a model's newest version does: call it in a thread.

        Raises:
            NotFound: there is no such model.
            InvalidRequest: its newest version can't be served, or the folder can't be read.
        """
        try:
            self.refresh()
        except StartupError as error:
            raise InvalidRequest("LOAD_FAILED", f"load failed for model {quoted(name)}: {error}", "model") from error
        newest = next((entry for entry in self.models.snapshot.entries if entry.name == name), None)
        if newest is None:
            there = f"{quoted(name)} isn't in the model repository, where it would be NAME/VERSION/{ARTIFACT}"
            raise NotFound("MODEL_UNKNOWN", there, "model")
        if newest.reason:
            failed = f"load failed for model {quoted(name)}: version {newest.version}: {newest.reason}"
            raise InvalidRequest("LOAD_FAILED", failed, "model")

    def _look(self) -> Snapshot:
        """What is to be served, with everything loaded that lies there and should be."""
        root = self._config.root
        try:
            found = scan(root)
        except OSError as error:
            raise StartupError(f"the model repository {root} can't be read: {error.strerror}") from error
        entries = [entry for name, folder in found.items() for entry in self._read_model(name, folder)]
        entries += self._keep_models(found, nothing_else=not _serving(entries))
        snapshot = Snapshot(entries, self._default_of(entries))
        self._forget(found, snapshot.entries)
        _log_changes(self._entries, snapshot.entries)
        self._entries = snapshot.entries
        return snapshot

    def _read_model(self, name: str, folder: ModelFolder) -> list[Entry]:
        """A model's versions, newest first, down to the last that the policy has."""
        if folder.unreadable:
            return self._remember(name, folder.unreadable) or [Entry(name, "", None, folder.unreadable)]
        there = {version.number: version for version in folder.versions}
        entries: list[Entry] = []
        for number in self._config.policy.wanted(there):
            if len(_serving(entries)) == self._config.policy.most:
                break
            entries.append(self._try(name, str(number), there.get(number)))
        return entries if _serving(entries) else self._keep_versions(name, entries)

    def _try(self, name: str, version: str, folder: VersionFolder | None) -> Entry:
        """Loads a version, unless that was done before and nobody has touched it since."""
        if folder is None:
            return Entry(name, version, None, f"there is no {name}/{version}/{ARTIFACT}")
        if folder in self._tried:
            return self._tried[folder]
        try:
            self._tried[folder] = Entry(name, version, self._load(folder.artifact, name, version))
            return self._tried[folder]
        except VitrineError as error:
            failed = self._failed(name, version, str(error))
            if not isinstance(error.__cause__, OSError):  # what can't be read for a moment is tried again
                self._tried[folder] = failed
            return failed
        except Exception as error:  # whatever a file does to a library, the others are served on
            if self._faults.get(folder) != repr(error):
                logger.exception("model %s@%s can't be loaded, and is tried again at every look", name, version)
            self._faults[folder] = repr(error)
            return self._failed(name, version, "it can't be loaded; the server's log has the cause")

    def _failed(self, name: str, version: str, reason: str) -> Entry:
        """A version that doesn't load; where its files took the place of ones that did, those answer on."""
        before = next((entry for entry in self._remember(name, "") if entry.version == version), None)
        if before is None:
            return Entry(name, version, None, reason)
        return Entry(name, version, before.model, f"its files have changed, and it answers as it was before: {reason}")

    def _keep_versions(self, name: str, failed: list[Entry]) -> list[Entry]:
        """What was served of a model of which nothing loads any more, among what fails."""
        versions = {entry.version: entry for entry in (*failed, *self._remember(name, GONE))}
        return [versions[version] for version in sorted(versions, key=int, reverse=True)]

    def _keep_models(self, found: Mapping[str, ModelFolder], *, nothing_else: bool) -> list[Entry]:
        """What was served of models that have gone; of those but the default's, only where nothing else is served."""
        gone = dict.fromkeys(entry.name for entry in self._entries if entry.name not in found)
        kept = [name for name in gone if nothing_else or name == self._config.default]
        return [entry for name in kept for entry in self._remember(name, GONE)]

    def _remember(self, name: str, reason: str) -> list[Entry]:
        """What is served of a model until now, with why that is to go on."""
        return [Entry(name, entry.version, entry.model, reason) for entry in _serving(self._entries, name)]

    def _default_of(self, entries: Iterable[Entry]) -> str:
        """The model that answers requests that name none. Once there is one, there is always one."""
        served = sorted({entry.name for entry in _serving(entries)})
        failures = [f"{entry.name}@{entry.version}: {entry.reason}" for entry in entries if entry.model is None]
        if not served:
            why = "; ".join(failures) or f"there is no NAME/VERSION/{ARTIFACT}"
            raise StartupError(f"nothing in the model repository {self._config.root} can be served: {why}")
        default = self._config.default or served[0]
        if default not in served:
            why = "; ".join([*failures, f"served: {listed(served)}"])
            raise StartupError(f"the default model {quoted(default)} isn't served: {why}")
        return default

    def _forget(self, found: Mapping[str, ModelFolder], entries: Collection[Entry]) -> None:
        """Lets go of what isn't listed any more, and of how files were before they changed."""
        there = {version for folder in found.values() for version in folder.versions}
        used = set(entries)
        self._tried = {folder: entry for folder, entry in self._tried.items() if folder in there and entry in used}
        self._faults = {folder: fault for folder, fault in self._faults.items() if folder in there}


def _serving(entries: Iterable[Entry], name: str | None = None) -> list[Entry]:
    """Those of which a model answers; of all models, or of one."""
    return [entry for entry in entries if entry.model and name in (None, entry.name)]


def _log_changes(before: Collection[Entry], now: Collection[Entry]) -> None:
    for entry in now:
        if entry in before:
            continue
        if entry.model:
            logger.info("model %s@%s runs on %s", entry.name, entry.version, entry.model.engine.provider)
        if entry.reason:
            logger.warning("model %s@%s: %s", entry.name, entry.version, entry.reason)
    listed_now = {(entry.name, entry.version) for entry in now}
    for entry in before:
        if entry.model and (entry.name, entry.version) not in listed_now:
            logger.info("model %s@%s is let go", entry.name, entry.version)


def loading_in(pool: Executor, repository: ServedRepository) -> LoadModel:
    """`ServedRepository.load` in a thread of a pool.

    Not in asyncio's own pool, which is waited for when the event loop closes: a server that is to stop would not.
    """

    async def load(name: str) -> None:
        there = copy_context().run  # what is logged in that thread is about this call, too
        await asyncio.get_running_loop().run_in_executor(pool, there, repository.load, name)

    return load


@asynccontextmanager
async def following(repository: ServedRepository, seconds: float) -> AsyncIterator[None]:
    """Looks at the repository every `seconds` while the context lasts; never when that is 0."""
    if not seconds:
        yield
        return
    thread = ThreadPoolExecutor(1, thread_name_prefix="reload")
    task = asyncio.create_task(_follow(repository, seconds, thread))
    try:
        yield
    finally:
        task.cancel()
        thread.shutdown(wait=False, cancel_futures=True)


async def _follow(repository: ServedRepository, seconds: float, thread: Executor) -> None:
    said = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.get_running_loop().run_in_executor(thread, repository.refresh)
            said = ""
        except StartupError as error:  # the folder may come back, and until then it would be said at every look
            if str(error) != said:
                logger.warning("%s; what was served until now is served on", error)
            said = str(error)
        except Exception:  # what follows the repository must not end
            logger.exception("looking at the model repository failed; what was served until now is served on")
