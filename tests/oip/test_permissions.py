"""Who may do what in the open protocol."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from oip.wire import Output, blank, refused
from support.callers import bearer, line, secret
from support.serving import running_server

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub


@pytest.fixture(scope="module")
def guarded(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GRPCInferenceServiceStub]:
    """A server that knows callers with some permissions."""
    tokens = tmp_path_factory.mktemp("oip") / "tokens"
    tokens.write_text(line("predict", "predict") + line("both", "predict,activations") + line("admin", "admin"))
    with running_server(tiny_artifact, "--tokens", tokens) as server, grpc.insecure_channel(server.target) as own:
        yield GRPCInferenceServiceStub(own)


HIDDEN = {"outputs": [Output(name="digit"), Output(name="relu_1")]}
OPEN_TO: dict[str, tuple[Callable[[GRPCInferenceServiceStub, Any], object], set[str]]] = {
    "the digit and the output layer": (
        lambda stub, who: stub.ModelInfer(blank(outputs=[Output(name="softmax")]), metadata=who),
        {"predict", "both"},
    ),
    "a hidden layer": (lambda stub, who: stub.ModelInfer(blank(**HIDDEN), metadata=who), {"both"}),
    "metadata": (
        lambda stub, who: stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny"), metadata=who),
        {"predict", "both"},
    ),
    "readiness": (lambda stub, who: stub.ServerReady(pb.ServerReadyRequest(), metadata=who), {"predict", "both"}),
}


@pytest.mark.parametrize("caller", ["predict", "both", "admin"])
@pytest.mark.parametrize("what", OPEN_TO)
def test_a_token_allows_what_its_permissions_say(guarded: GRPCInferenceServiceStub, what: str, caller: str) -> None:
    call, allowed = OPEN_TO[what]
    if caller in allowed:
        call(guarded, bearer(secret(caller)))
    else:
        assert refused(lambda: call(guarded, bearer(secret(caller))))[0] is grpc.StatusCode.PERMISSION_DENIED


def test_a_hidden_layer_in_a_stream_takes_its_permission_too(guarded: GRPCInferenceServiceStub) -> None:
    hidden, plain = guarded.ModelStreamInfer(iter([blank(**HIDDEN), blank()]), metadata=bearer(secret("predict")))
    assert "lacks the permission 'activations'" in hidden.error_message
    assert plain.infer_response.model_name == "tiny"


def test_without_a_token_nothing_is_answered(guarded: GRPCInferenceServiceStub) -> None:
    code, _, reason, _ = refused(lambda: guarded.ServerLive(pb.ServerLiveRequest()))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


@pytest.mark.parametrize("caller", ["predict", "both"])
def test_only_who_may_administer_loads_and_unloads(guarded: GRPCInferenceServiceStub, caller: str) -> None:
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    unload = pb.RepositoryModelUnloadRequest()
    who = bearer(secret(caller))
    for call in (
        lambda: guarded.RepositoryModelLoad(load, metadata=who),
        lambda: guarded.RepositoryModelUnload(unload, metadata=who),
    ):
        assert refused(call)[0] is grpc.StatusCode.PERMISSION_DENIED


def test_a_server_of_one_file_loads_and_unloads_nothing(guarded: GRPCInferenceServiceStub) -> None:
    who = bearer(secret("admin"))
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    code, text, reason, _ = refused(lambda: guarded.RepositoryModelLoad(load, metadata=who))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NO_REPOSITORY")
    assert text.startswith("explicit model load is not allowed")
    unload = pb.RepositoryModelUnloadRequest()
    code, text, reason, _ = refused(lambda: guarded.RepositoryModelUnload(unload, metadata=who))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NO_UNLOADING")
    assert "move the model's folder" in text
