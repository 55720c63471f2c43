"""A model repository, seen and loaded through the open protocol."""

import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from oip.conftest import Repository
from oip.wire import blank, refused
from support.callers import bearer, line, secret
from support.publishing import bad_files, publish
from support.serving import FRONTEND, logged_server, open_log

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub


def test_loading_serves_what_was_published(repository: Repository) -> None:
    publish(repository.root, "digits", 2)
    publish(repository.root, "large", 7)
    assert repository.index() == [("digits", "1", "READY", "")]
    repository.load("digits")
    expected = [("digits", "2", "READY", ""), ("digits", "1", "READY", ""), ("large", "7", "READY", "")]
    assert repository.index() == expected
    metadata = repository.call("ModelMetadata", pb.ModelMetadataRequest(name="digits"))
    assert list(metadata.versions) == ["2", "1"]
    metadata = repository.call("ModelMetadata", pb.ModelMetadataRequest(name="digits", version="1"))
    assert list(metadata.versions) == ["1"]


def test_a_named_version_answers(repository: Repository) -> None:
    publish(repository.root, "digits", 2)
    repository.load("digits")
    for version, answered in (("", "2"), ("1", "1"), ("2", "2")):
        message = blank(model_version=version)
        message.model_name = "digits"
        assert repository.call("ModelInfer", message).model_version == answered
        ready = repository.call("ModelReady", pb.ModelReadyRequest(name="digits", version=version))
        assert ready.ready
    assert not repository.call("ModelReady", pb.ModelReadyRequest(name="digits", version="3")).ready


def test_loading_a_version_that_fails_says_why_and_the_one_before_answers_on(repository: Repository) -> None:
    publish(repository.root, "digits", 2, bad_files()["corrupt"])
    code, text, reason, field = refused(lambda: repository.load("digits"))
    assert (code, reason, field) == (grpc.StatusCode.INVALID_ARGUMENT, "LOAD_FAILED", "model_name")
    assert text.startswith("load failed for model 'digits': version 2: ")
    failed, served = repository.index()
    assert (failed[1:3], served) == (("2", "UNAVAILABLE"), ("digits", "1", "READY", ""))
    assert failed[3] in text
    assert repository.index(ready=True) == [("digits", "1", "READY", "")]
    assert not repository.call("ModelReady", pb.ModelReadyRequest(name="digits", version="2")).ready


def test_loading_what_does_not_lie_there_is_refused(repository: Repository) -> None:
    code, text, reason, field = refused(lambda: repository.load("large"))
    assert (code, reason, field) == (grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "model_name")
    where = "where it would be NAME/VERSION/model.onnx"
    assert text == f"Request for unknown model: 'large' isn't in the model repository, {where}"


def test_loading_with_other_settings_or_from_elsewhere_is_refused(repository: Repository) -> None:
    override = {"config": pb.ModelRepositoryParameter(string_param="{}")}
    assert refused(lambda: repository.load("digits", parameters=override))[2] == "NO_OVERRIDES"
    assert refused(lambda: repository.load("digits", repository_name="other"))[2] == "NO_REPOSITORY_NAMES"
    elsewhere = pb.RepositoryIndexRequest(repository_name="other")
    assert refused(lambda: repository.call("RepositoryIndex", elsewhere))[2] == "NO_REPOSITORY_NAMES"


LOADING_FOR_EVER = """
import sys, threading
from vitrine.server.cli import main
from vitrine.server.models.repository import ServedRepository

def load(*_):
    print("it has begun", file=sys.stderr, flush=True)
    threading.Event().wait()

ServedRepository.load = load
main()
"""


@pytest.mark.skipif(FRONTEND != "grpc", reason="it changes the server's program, which behind Envoy is another one")
def test_a_server_that_is_to_stop_does_not_wait_for_what_is_being_loaded(tmp_path: Path) -> None:
    """Its disk may be so slow, or gone."""
    root, tokens = tmp_path / "models", tmp_path / "tokens"
    publish(root, "digits", 1)
    tokens.write_text(line("all", "admin"))
    settings = ("--model-repository", root, "--tokens", tokens, "--propagation-seconds", "0", "--drain-seconds", "0")
    program = (sys.executable, "-c", LOADING_FOR_EVER)
    with (
        open_log() as (pipe, log),
        logged_server(pipe, *settings, program=program) as server,
        grpc.insecure_channel(server.target) as own,
    ):
        message: Any = pb.RepositoryModelLoadRequest(model_name="digits")
        loading = GRPCInferenceServiceStub(own).RepositoryModelLoad.future(message, metadata=bearer(secret("all")))
        log.wait_for("(it has begun)")
        assert server.stop() == 0
        assert loading.exception() is not None
