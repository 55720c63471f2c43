"""Serves the content of a model repository, and follows its changes.

`rollout` decides which versions are served; here they are loaded, and the result of each load is kept. A version that
fails is listed with the reason, and tried again once its files change.

The folder is looked at every few seconds. File system events aren't used: network and container mounts often send
none.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import TypeAlias

from vitrine.model import VitrineError
from vitrine.server.errors import InvalidRequest, NotFound, StartupError, quoted
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.rollout import Attempt, default_of, plan
from vitrine.server.models.scan import ARTIFACT, ModelFolder, VersionFolder, can_name_a_model, scan
from vitrine.server.models.snapshot import Entry, Models, ServedModel, Snapshot

logger = logging.getLogger(__name__)

LoadVersion: TypeAlias = Callable[[Path, str, str], ServedModel]
"""Makes a served model of a file, a name and a version; its error has the reason why it can't."""

LoadModel: TypeAlias = Callable[[str], Awaitable[None]]
"""Looks at the repository at once; returns when a model's newest version is served: `load_in_pool` makes one."""


class VersionLoader:
    """Loads versions, each once as long as its files stay the same.

    Args:
        load: loads a version.
    """

    def __init__(self, load: LoadVersion) -> None:
        self._load = load
        self._outcomes: dict[VersionFolder, Attempt] = {}
        self._asked: set[VersionFolder] = set()
        self._faults: dict[VersionFolder, str] = {}

    def outcome(self, name: str, folder: VersionFolder) -> Attempt:
        """The model, or why it can't be served."""
        self._asked.add(folder)
        if folder in self._outcomes:
            return self._outcomes[folder]
        try:
            outcome: Attempt = self._load(folder.artifact, name, str(folder.number))
        except VitrineError as error:
            if isinstance(error.__cause__, OSError):  # a file that can't be read for a moment is tried again
                return str(error)
            outcome = str(error)
        except Exception as error:  # whatever a file does to a library, the others are served on
            if self._faults.get(folder) != repr(error):
                logger.exception("model %s@%s can't be loaded, and is tried again at every look", name, folder.number)
            self._faults[folder] = repr(error)
            return "it can't be loaded; the server's log has the cause"
        self._outcomes[folder] = outcome
        return outcome

    def forget_others(self) -> None:
        """Lets go of all versions but those that were asked for since the last time."""
        self._outcomes = {folder: outcome for folder, outcome in self._outcomes.items() if folder in self._asked}
        self._faults = {folder: fault for folder, fault in self._faults.items() if folder in self._asked}
        self._asked = set()


class ServedRepository:
    """A repository whose models are served.

    Args:
        config: the repository, and which of its models are served.
        load: loads a version.

    Raises:
        StartupError: nothing in it loads, or the default model doesn't.
    """

    def __init__(self, config: RepositoryConfig, load: LoadVersion) -> None:
        self._config = config
        self._loader = VersionLoader(load)
        self._looking = threading.Lock()
        self._misplaced: frozenset[Path] = frozenset()
        self.models = Models(self._look(()))
        """The models that are served; `refresh` changes them."""

    def refresh(self) -> None:
        """Serves the repository's present content. Loads first and lets go afterwards: call it in a thread.

        Raises:
            StartupError: the folder can't be read; nothing has changed.
        """
        with self._looking:
            self.models.replace(self._look(self.models.snapshot.entries))

    def load(self, name: str) -> None:
        """Serves the repository's present content; returns when a model's newest version is: call it in a thread.

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

    def _look(self, previous: Collection[Entry]) -> Snapshot:
        """The models to serve after those before, with everything loaded that is in the folder and wanted."""
        root = Path(self._config.root)
        try:
            found = scan(root)
        except OSError as error:
            raise StartupError(f"the model repository {root} can't be read: {error.strerror}") from error
        self._warn_of_misplaced(found.values())
        found = {name: folder for name, folder in found.items() if folder.versions or folder.unreadable}
        entries = plan(found, self._loader.outcome, previous, self._config)
        snapshot = Snapshot(entries, default_of(entries, self._config))
        self._loader.forget_others()
        _log_changes(previous, snapshot.entries)
        return snapshot

    def _warn_of_misplaced(self, folders: Iterable[ModelFolder]) -> None:
        """Logs, once, the artifacts that aren't served because of where they are."""
        misplaced = frozenset(path for folder in folders for path in folder.misplaced)
        for path in sorted(misplaced - self._misplaced):
            named = can_name_a_model(path.relative_to(self._config.root).parts[0])
            needed = "a version such as 1" if named else "a name of printable characters, without @ and outer spaces"
            shown = str(path) if str(path).isprintable() else repr(str(path))
            logger.warning("%s is not served: it must be NAME/VERSION/%s, with %s", shown, ARTIFACT, needed)
        self._misplaced = misplaced


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


def load_in_pool(pool: Executor, repository: ServedRepository) -> LoadModel:
    """`ServedRepository.load` in a thread of a pool.

    Not in asyncio's own pool, which is waited for when the event loop closes: a server that is to stop would not.
    """

    async def load(name: str) -> None:
        in_context = copy_context().run  # the thread's log lines name this call, too
        await asyncio.get_running_loop().run_in_executor(pool, in_context, repository.load, name)

    return load


@asynccontextmanager
async def poll(repository: ServedRepository, seconds: float, asked: asyncio.Event) -> AsyncIterator[None]:
    """Looks at the repository while the context lasts: when it is asked to, and every `seconds` unless that is 0."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="reload")
    task = asyncio.create_task(_poll(repository, seconds, asked, thread))
    try:
        yield
    finally:
        task.cancel()
        thread.shutdown(wait=False, cancel_futures=True)


async def _poll(repository: ServedRepository, seconds: float, asked: asyncio.Event, thread: Executor) -> None:
    logged = ""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds or None):
                await asked.wait()
        asked.clear()
        try:
            await asyncio.get_running_loop().run_in_executor(thread, repository.refresh)
            logged = ""
        except StartupError as error:  # the folder may come back, and until then each look would log it
            if str(error) != logged:
                logger.warning("%s; the models before are served on", error)
            logged = str(error)
        except Exception:  # the polling must not end
            logger.exception("looking at the model repository failed; the models before are served on")
