"""What is served of what lies in a repository, look by look: nothing here waits for a clock."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.publishing import bad_files, good_file, publish, withdraw
from support.serving import a_call

from vitrine.model import ArtifactError
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import NotFound, StartupError
from vitrine.server.inference.call import Call
from vitrine.server.inference.requests import Classification, ClassifyRequest
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.repository import ServedRepository, poll
from vitrine.server.models.scan import scan
from vitrine.server.models.snapshot import Entry, Models, ServedModel, Snapshot
from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.opening import open_service
from vitrine.server.security.access import Caller, Permission
from vitrine.server.service_config import ServiceConfig

OPERATOR = Caller("operator", frozenset(Permission))
"""A caller who may do everything."""


def load_on_cpu(path: Path, name: str, version: str) -> ServedModel:
    return load_artifact(path, Device.CPU, name, version)


ANSWERS_ON = "it isn't in the repository any more, and answers on since nothing else could"


def serve(root: Path, policy: str = "latest:1", default: str = "") -> ServedRepository:
    return ServedRepository(RepositoryConfig(root, VersionPolicy.parse(policy), default), load_on_cpu)


def served(repository: ServedRepository) -> list[str]:
    entries = repository.models.snapshot.entries
    return [f"{entry.model.name}@{entry.model.version}" for entry in entries if entry.model]


def failed(repository: ServedRepository) -> dict[str, str]:
    entries = repository.models.snapshot.entries
    return {f"{entry.name}@{entry.version}": entry.reason for entry in entries if entry.model is None}


def test_only_folders_that_are_versions_count(tmp_path: Path) -> None:
    for version in ("3", "12", "0", "007", "-1", "1.5", "v2", ".4", "5.tmp", "²", "latest"):
        (tmp_path / "tiny" / version).mkdir(parents=True)
    (tmp_path / "tiny" / "9").write_text("a file")
    assert {version.number for version in scan(tmp_path)["tiny"].versions} == {3, 12}


def test_artifacts_that_no_version_holds_are_named_once_and_the_others_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, "tiny", 2)
    misplaced = [tmp_path / "tiny" / name / "model.onnx" for name in ("01", "latest", "v1")] + [
        tmp_path / "tiny" / "model.onnx",
        tmp_path / "7" / "model.onnx",
    ]
    for path in misplaced:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good_file(1))
    said = _said(caplog)
    repository = serve(tmp_path)
    repository.refresh()
    assert served(repository) == ["tiny@2"]
    wanted = "is not served: it must be NAME/VERSION/model.onnx, with a version such as 1"
    assert said() == [*(f"{path} {wanted}" for path in sorted(misplaced)), "model tiny@2 runs on CPUExecutionProvider"]


@pytest.mark.parametrize("name", [" ", "new\nline", "not\udcffutf-8", "a@2", "\u202egnp", "end "])
def test_a_model_whose_name_no_request_can_have_is_named_once_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    publish(tmp_path, "tiny", 1)
    publish(tmp_path, name, 1)
    said = _said(caplog)
    repository = serve(tmp_path)
    repository.refresh()
    assert served(repository) == ["tiny@1"]
    assert not failed(repository)
    refused, _ = said()
    assert "must be NAME/VERSION/model.onnx, with a name of printable characters" in refused
    assert refused.isprintable()


def test_a_repository_of_misplaced_artifacts_alone_is_refused_and_they_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tiny" / "v1").mkdir(parents=True)
    (tmp_path / "tiny" / "v1" / "model.onnx").write_bytes(good_file(1))
    with pytest.raises(StartupError, match="there is no NAME/VERSION/model"):
        serve(tmp_path)
    assert f"{tmp_path / 'tiny' / 'v1' / 'model.onnx'} is not served" in caplog.text


def test_hidden_and_temporary_names_and_models_without_a_version_are_passed_over(tmp_path: Path) -> None:
    for name in ("tiny", ".hidden", "new.tmp", "new.part", "old~", "a@b", "line\nbreak", "lost+found"):
        (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README").write_text("a file")
    assert list(scan(tmp_path)) == ["tiny"]


def test_the_newest_version_is_the_largest_number(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        publish(tmp_path, "tiny", version)
    assert served(serve(tmp_path)) == ["tiny@10"]


@pytest.mark.parametrize(
    ("policy", "versions"),
    {
        "latest:1": ["tiny@5"],
        "latest:2": ["tiny@5", "tiny@4"],
        "latest:9": ["tiny@5", "tiny@4", "tiny@3"],
        "all": ["tiny@5", "tiny@4", "tiny@3"],
        "3,5": ["tiny@5", "tiny@3"],
    }.items(),
)
def test_a_policy_says_which_versions_are_served(tmp_path: Path, policy: str, versions: list[str]) -> None:
    for version in (3, 4, 5):
        publish(tmp_path, "tiny", version)
    assert served(serve(tmp_path, policy)) == versions


@pytest.mark.parametrize("text", ["", "latest", "latest:0", "latest:-1", "3,", "0", "3,x", "ALL", "٣"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither latest:N, nor all, nor version numbers"):
        VersionPolicy.parse(text)


def test_a_named_version_that_is_not_there_is_listed_and_served_once_it_is(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 3)
    repository = serve(tmp_path, "3,5")
    assert failed(repository) == {"tiny@5": "there is no tiny/5/model.onnx"}
    publish(tmp_path, "tiny", 5)
    repository.refresh()
    assert served(repository) == ["tiny@5", "tiny@3"]


def test_a_model_is_called_what_its_folder_is(tmp_path: Path) -> None:
    publish(tmp_path, "digits", 1)
    model = serve(tmp_path).models.get("digits")
    assert (model.name, model.metadata.name) == ("digits", "trained")


def test_requests_name_a_model_or_a_version_of_it(tmp_path: Path) -> None:
    for version in (1, 2):
        publish(tmp_path, "tiny", version)
    models = serve(tmp_path, "all").models
    assert [models.get(name).version for name in ("", "tiny", "tiny@2", "tiny@1")] == ["2", "2", "2", "1"]


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        ("large", "MODEL_UNKNOWN", "no model is called 'large'; served: tiny"),
        ("large@1", "MODEL_UNKNOWN", "no model is called 'large'; served: tiny"),
        ("@1", "MODEL_UNKNOWN", "no model is called '@1'; served: tiny"),
        ("tiny@3", "VERSION_UNKNOWN", "'tiny' has no version '3'; served: 2, 1"),
        ("tiny@01", "VERSION_UNKNOWN", "'tiny' has no version '01'; served: 2, 1"),
        ("tiny@", "VERSION_UNKNOWN", "'tiny' has no version ''; served: 2, 1"),
        ("tiny@1@2", "MODEL_UNKNOWN", "no model is called 'tiny@1'; served: tiny"),
    ],
)
def test_what_is_not_served_is_not_found(tmp_path: Path, name: str, reason: str, message: str) -> None:
    for version in (1, 2):
        publish(tmp_path, "tiny", version)
    with pytest.raises(NotFound, match=f"^{message}$") as caught:
        serve(tmp_path, "all").models.get(name)
    assert (caught.value.reason, caught.value.field) == (reason, "model")


def test_a_single_model_whose_name_has_an_at_sign_is_found(tmp_path: Path) -> None:
    model = load_artifact(publish(tmp_path, "x", 1) / "model.onnx", Device.CPU, "tiny@home", "abc")
    models = Models.of(model)
    assert models.get("tiny@home") is models.get("tiny@home@abc") is model


def test_the_first_model_by_name_is_the_default_unless_one_is_named(tmp_path: Path) -> None:
    for name in ("b", "a"):
        publish(tmp_path, name, 1)
    assert serve(tmp_path).models.get("").name == "a"
    assert serve(tmp_path, default="b").models.get("").name == "b"


def test_a_new_version_takes_over_and_the_old_one_is_let_go(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1)
    repository = serve(tmp_path)
    publish(tmp_path, "tiny", 2)
    repository.refresh()
    assert served(repository) == ["tiny@2"]


@pytest.mark.parametrize("damage", bad_files())
def test_a_version_that_fails_leaves_the_old_one_serving_and_is_listed(tmp_path: Path, damage: str) -> None:
    publish(tmp_path, "tiny", 1)
    repository = serve(tmp_path)
    before = repository.models.get("tiny")
    publish(tmp_path, "tiny", 2, bad_files()[damage])
    repository.refresh()
    assert repository.models.get("tiny") is before
    assert list(failed(repository)) == ["tiny@2"]


def test_a_server_that_is_started_anew_serves_what_one_that_ran_all_along_does(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1)
    ran_all_along = serve(tmp_path)
    publish(tmp_path, "tiny", 2)
    publish(tmp_path, "tiny", 3, b"bad")
    ran_all_along.refresh()
    assert served(serve(tmp_path)) == served(ran_all_along) == ["tiny@2"]


def test_a_version_that_was_still_being_written_is_served_once_it_is_whole(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1)
    repository = serve(tmp_path)
    file = publish(tmp_path, "tiny", 2, good_file(2)[:1000]) / "model.onnx"
    repository.refresh()
    assert failed(repository) == {"tiny@2": "it isn't an ONNX file, or is cut off"}
    file.write_bytes(good_file(2))
    repository.refresh()
    assert served(repository) == ["tiny@2"]


def test_a_version_without_its_file_is_listed(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1)
    (tmp_path / "tiny" / "2").mkdir()
    repository = serve(tmp_path)
    assert served(repository) == ["tiny@1"]
    assert failed(repository) == {"tiny@2": "model.onnx can't be read: No such file or directory"}


def test_a_version_whose_file_is_spoilt_where_it_lies_answers_on(tmp_path: Path) -> None:
    folder = publish(tmp_path, "tiny", 1)
    repository = serve(tmp_path)
    before = repository.models.get("tiny")
    (folder / "model.onnx").write_bytes(b"bad")
    repository.refresh()
    (entry,) = repository.models.snapshot.entries
    assert entry.model is before
    assert entry.reason == (
        "its files have changed, and it answers as it was before: it isn't an ONNX file, or is cut off"
    )
    (folder / "model.onnx").write_bytes(good_file(1))
    repository.refresh()
    assert repository.models.snapshot.entries == (Entry("tiny", "1", repository.models.get("tiny")),)


def test_a_version_is_loaded_once_as_long_as_nobody_touches_it(tmp_path: Path) -> None:
    loaded = []

    def load(path: Path, name: str, version: str) -> ServedModel:
        loaded.append(version)
        return load_on_cpu(path, name, version)

    publish(tmp_path, "tiny", 1)
    publish(tmp_path, "tiny", 2, b"bad")
    repository = ServedRepository(RepositoryConfig(tmp_path), load)
    for _ in range(3):
        repository.refresh()
    assert loaded == ["2", "1"]
    publish(tmp_path, "tiny", 3)
    repository.refresh()
    assert loaded == ["2", "1", "3"]


def test_a_fault_inside_while_loading_is_logged_and_leaves_the_old_one_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def load(path: Path, name: str, version: str) -> ServedModel:
        if version == "2":
            raise MemoryError("no room")
        return load_on_cpu(path, name, version)

    publish(tmp_path, "tiny", 1)
    publish(tmp_path, "tiny", 2)
    repository = ServedRepository(RepositoryConfig(tmp_path), load)
    assert served(repository) == ["tiny@1"]
    assert failed(repository) == {"tiny@2": "it can't be loaded; the server's log has the cause"}
    assert "MemoryError: no room" in caplog.text


def unreadable() -> ArtifactError:
    """What reading an artifact raises when the process has no file descriptor left."""
    error = ArtifactError("model.onnx can't be read: Too many open files")
    error.__cause__ = OSError(24, "Too many open files")
    return error


@pytest.mark.parametrize("fault", [MemoryError(), unreadable()])
def test_a_version_that_failed_for_a_moment_is_tried_again_though_nobody_touches_it(
    tmp_path: Path, fault: Exception
) -> None:
    publish(tmp_path, "tiny", 1)
    trouble: list[Exception] = []

    def load(path: Path, name: str, version: str) -> ServedModel:
        if trouble:
            raise trouble.pop()
        return load_on_cpu(path, name, version)

    repository = ServedRepository(RepositoryConfig(tmp_path), load)
    publish(tmp_path, "tiny", 2)
    trouble.append(fault)
    repository.refresh()
    assert served(repository) == ["tiny@1"]
    repository.refresh()
    assert served(repository) == ["tiny@2"]


def test_moving_a_version_away_serves_the_one_before_it(tmp_path: Path) -> None:
    for version in (1, 2):
        publish(tmp_path, "tiny", version)
    repository = serve(tmp_path)
    withdraw(tmp_path, "tiny", 2)
    repository.refresh()
    assert served(repository) == ["tiny@1"]
    assert failed(repository) == {}


def test_a_version_moved_away_answers_on_while_no_other_loads(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1, b"bad")
    publish(tmp_path, "tiny", 2)
    repository = serve(tmp_path)
    withdraw(tmp_path, "tiny", 2)
    for _ in range(2):
        repository.refresh()
        entries = [(entry.version, entry.reason) for entry in repository.models.snapshot.entries]
        assert entries == [("2", ANSWERS_ON), ("1", "it isn't an ONNX file, or is cut off")]
    publish(tmp_path, "tiny", 3)
    repository.refresh()
    assert served(repository) == ["tiny@3"]


def test_a_named_version_moved_away_answers_on_while_no_other_loads(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 5)
    repository = serve(tmp_path, "5")
    withdraw(tmp_path, "tiny", 5)
    publish(tmp_path, "tiny", 6)
    repository.refresh()
    assert [(entry.version, entry.reason) for entry in repository.models.snapshot.entries] == [("5", ANSWERS_ON)]


def test_a_model_moved_away_is_not_served_any_more(tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(tmp_path, name, 1)
    repository = serve(tmp_path)
    (tmp_path / "a").rename(tmp_path / ".a")
    repository.refresh()
    assert served(repository) == ["b@1"]
    assert repository.models.get("").name == "b"


def test_the_named_default_answers_on_when_it_is_moved_away(tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(tmp_path, name, 1)
    repository = serve(tmp_path, default="b")
    (tmp_path / "b").rename(tmp_path / ".b")
    repository.refresh()
    assert repository.models.get("").name == "b"
    assert repository.models.snapshot.entries[-1].reason == ANSWERS_ON


def test_an_emptied_repository_takes_nothing_away(tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(tmp_path, name, 1)
    repository = serve(tmp_path)
    for name in ("a", "b"):
        withdraw(tmp_path, name, 1)
    repository.refresh()
    assert served(repository) == ["a@1", "b@1"]


def test_a_model_whose_folder_can_not_be_read_is_listed_and_answers_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        publish(tmp_path, name, 1)
    repository = serve(tmp_path)
    _make_unreadable(tmp_path / "b", monkeypatch)
    repository.refresh()
    assert served(repository) == ["a@1", "b@1"]
    assert repository.models.snapshot.entries[1].reason == "its folder can't be read: Permission denied"
    assert failed(serve(tmp_path)) == {"b@": "its folder can't be read: Permission denied"}


def _make_unreadable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user without permission; the tests may run as root, who may read everything."""
    iterdir = Path.iterdir

    def denied(path: Path) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", denied)


def test_a_repository_that_can_not_be_read_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    publish(root, "tiny", 1)
    repository = serve(root)
    root.rename(tmp_path / "away")
    with pytest.raises(StartupError, match="can't be read: No such file or directory"):
        repository.refresh()
    assert served(repository) == ["tiny@1"]


async def test_a_repository_that_comes_back_is_followed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, away = tmp_path / "models", tmp_path / "away"
    publish(root, "tiny", 1)
    repository = serve(root)
    warned, replaced = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("vitrine.server.models.repository.logger.warning", lambda *_: warned.set())
    _notice(repository, replaced, monkeypatch)
    root.rename(away)
    async with poll(repository, 0.001, asyncio.Event()):
        await warned.wait()
        publish(away, "tiny", 2)
        away.rename(root)
        await replaced.wait()
    assert served(repository) == ["tiny@2"]


async def test_what_follows_the_repository_survives_a_fault_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, "tiny", 1)
    repository = serve(tmp_path)
    replaced = asyncio.Event()
    _notice(repository, replaced, monkeypatch)
    faults = [RuntimeError("a bug")]

    def scan_or_fail(root: Path) -> object:
        if faults:
            raise faults.pop()
        return scan(root)

    monkeypatch.setattr("vitrine.server.models.repository.scan", scan_or_fail)
    async with poll(repository, 0.001, asyncio.Event()):
        await replaced.wait()
    assert "RuntimeError: a bug" in caplog.text


def _notice(repository: ServedRepository, replaced: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets an event once the repository has been looked at."""
    loop, replace = asyncio.get_running_loop(), repository.models.replace

    def replace_and_tell(snapshot: Snapshot) -> None:
        replace(snapshot)
        loop.call_soon_threadsafe(replaced.set)

    monkeypatch.setattr(repository.models, "replace", replace_and_tell)


async def test_a_request_under_way_is_answered_by_the_version_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def prepare(*_: object) -> npt.NDArray[np.uint8]:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        return np.zeros((18, 18), np.uint8)

    monkeypatch.setattr("vitrine.server.preparation.processes.Decoders.prepare", prepare)
    publish(tmp_path, "tiny", 1)
    async with open_service(ServiceConfig(repository=RepositoryConfig(tmp_path, reload_seconds=0))) as service:

        async def classify() -> Classification:
            """What a protocol does: it looks the model up, and lets it answer."""
            model = service.model("tiny", a_call())
            return await service.classify(ClassifyRequest(model, files=[b"an image"]), a_call())

        call = asyncio.ensure_future(classify())
        await begun.wait()
        publish(tmp_path, "tiny", 2)
        await service.load("tiny", Call("/test/Test", OPERATOR))
        go_on.set()
        under_way, after = (
            await call,
            await classify(),
        )
    assert (under_way.model.version, after.model.version) == ("1", "2")


def test_what_changes_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = _said(caplog)
    publish(tmp_path, "tiny", 1)
    repository = serve(tmp_path)
    assert said() == ["model tiny@1 runs on CPUExecutionProvider"]
    publish(tmp_path, "tiny", 2, b"bad")
    for _ in range(2):
        repository.refresh()
    assert said() == ["model tiny@2: it isn't an ONNX file, or is cut off"]
    publish(tmp_path, "tiny", 3)
    repository.refresh()
    assert said() == ["model tiny@3 runs on CPUExecutionProvider", "model tiny@1 is let go"]


def _said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)

    def said() -> list[str]:
        messages = list(caplog.messages)
        caplog.clear()
        return messages

    return said


def test_two_versions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="served twice"):
        _snapshot_of_twins()


def _snapshot_of_twins() -> Snapshot:
    model: ServedModel = object.__new__(ServedModel)
    return Snapshot([Entry("tiny", "1", model), Entry("tiny", "1", model)], "tiny")
