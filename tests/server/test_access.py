"""Who may do what: every kind of caller × every kind of call, against a real server with a file of tokens."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from support.callers import bearer, line, secret
from support.serving import RunningServer, logged_server, refused_start, running_server

from vitrine.client import AuthenticationError, Client, PermissionDeniedError
from vitrine.server.errors import PermissionDenied
from vitrine.server.protocols.templates import LEARNT_EVERY
from vitrine.server.security.access import ANYONE, Caller, Permission
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

PLAIN = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))
ALL_LAYERS = pb.ClassifyRequest(pixels=PLAIN.pixels, activations=pb.LayerSelection(all=True))
ONE_LAYER = pb.ClassifyRequest(pixels=PLAIN.pixels, activations=pb.LayerSelection(names=["relu_1"]))
SILENCED = pb.ClassifyRequest(
    pixels=PLAIN.pixels,
    interventions=[pb.ImageInterventions(interventions=[pb.Intervention(layer="relu_1", scale=0)])],
)
EIGHT = (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()
PERMISSIONS = ("predict", "activations", "parameters", "interventions", "attribution", "admin")


def replace(path: Path, text: str) -> None:
    """Publishes a file as one should: by a rename."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file with one caller, who may predict."""
    path = tmp_path / "tokens"
    path.write_text(line("alice", "predict"))
    return path


@pytest.fixture(scope="module")
def guarded(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that knows a token for each permission, one for two of them, and one for all."""
    path = tmp_path_factory.mktemp("access") / "tokens"
    callers = [line(permission, permission) for permission in PERMISSIONS]
    pairs = [line(f"predict+{one}", f"predict,{one}") for one in ("activations", "interventions", "attribution")]
    everything = line("all", ",".join(PERMISSIONS))
    path.write_text("# who may call\n\n" + "".join(callers) + "".join(pairs) + everything)
    with running_server(tiny_artifact, "--tokens", path) as running:
        yield running


Call = Callable[[grpc.Channel, Any], object]


def stream(request: pb.ClassifyRequest) -> Call:
    def call(channel: grpc.Channel, metadata: Any) -> object:
        messages = iter([pb.ClassifyStreamRequest(request=request)])
        return list(ClassifierServiceStub(channel).ClassifyStream(messages, metadata=metadata))

    return call


def unary(method: str, request: Any) -> Call:
    return lambda channel, metadata: getattr(ClassifierServiceStub(channel), method)(request, metadata=metadata)


def check_health(channel: grpc.Channel, metadata: Any) -> object:
    health: Any = health_pb2_grpc.HealthStub(channel)
    return health.Check(health_pb2.HealthCheckRequest(), metadata=metadata)


def reflect(channel: grpc.Channel, metadata: Any) -> object:
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    return list(reflection.ServerReflectionInfo(iter([request]), metadata=metadata))


PREDICTING: dict[str, Call] = {
    "Classify": unary("Classify", PLAIN),
    "ClassifyStream": stream(PLAIN),
    "ListModels": unary("ListModels", pb.ListModelsRequest()),
    "GetModel": unary("GetModel", pb.GetModelRequest()),
    "Prepare": unary("Prepare", pb.PrepareRequest(file=EIGHT)),
}
INSPECTING: dict[str, Call] = {
    "Classify, all layers": unary("Classify", ALL_LAYERS),
    "Classify, one layer": unary("Classify", ONE_LAYER),
    "ClassifyStream, all layers": stream(ALL_LAYERS),
    "ClassifyStream, one layer": stream(ONE_LAYER),
}
READING: dict[str, Call] = {"GetParameters": unary("GetParameters", pb.GetParametersRequest(layer="linear_1"))}
CHANGING: dict[str, Call] = {
    "Classify, interventions": unary("Classify", SILENCED),
    "ClassifyStream, interventions": stream(SILENCED),
}
EXPLAINING: dict[str, Call] = {"Explain": unary("Explain", pb.ExplainRequest(pixels=PLAIN.pixels))}
OPEN: dict[str, Call] = {"Check": check_health, "ServerReflectionInfo": reflect}
CALLS = PREDICTING | INSPECTING | READING | CHANGING | EXPLAINING | OPEN

ALLOWED: dict[str, dict[str, Call]] = {
    "predict": PREDICTING | OPEN,
    "activations": OPEN,
    "parameters": READING | OPEN,
    "interventions": OPEN,
    "attribution": OPEN,
    "admin": OPEN,
    "predict+activations": PREDICTING | INSPECTING | OPEN,
    "predict+interventions": PREDICTING | CHANGING | OPEN,
    "predict+attribution": PREDICTING | EXPLAINING | OPEN,
    "all": CALLS,
}
"""What each known caller may do."""

STRANGERS: dict[str, tuple[Any, str]] = {
    "no token": ((), "TOKEN_MISSING"),
    "unknown token": (bearer("guessed"), "TOKEN_UNKNOWN"),
    "another scheme": ((("authorization", "Basic " + secret("all")),), "TOKEN_MALFORMED"),
    "no scheme": ((("authorization", secret("all")),), "TOKEN_MALFORMED"),
    "two tokens": (bearer("guessed") + bearer(secret("all")), "TOKEN_MALFORMED"),
    "a digest": (bearer(hashlib.sha256(secret("all").encode()).hexdigest()), "TOKEN_UNKNOWN"),
}
"""What strangers send, and the reason of their refusal."""


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ALLOWED)
def test_a_token_allows_what_it_has_permissions_for(guarded: RunningServer, name: str, call: str) -> None:
    with grpc.insecure_channel(guarded.target) as channel:
        if call in ALLOWED[name]:
            assert CALLS[call](channel, bearer(secret(name)))
            return
        with pytest.raises(grpc.RpcError) as caught:
            CALLS[call](channel, bearer(secret(name)))
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_LACKING")
    may_predict = "predict" in name
    lacking = "parameters" if call in READING else "predict"
    if call in EXPLAINING and name != "attribution":
        lacking = "attribution"
    elif may_predict and call in INSPECTING:
        lacking = "activations"
    elif may_predict and call in CHANGING:
        lacking = "interventions"
    advice = ": ask for none (activations=None in the SDK)" if lacking == "activations" else ""
    said = f"the token {name!r} lacks the permission {lacking!r}, which this request needs{advice}"
    assert caught.value.details() == said


def test_each_method_of_the_service_is_among_the_calls() -> None:
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["ClassifierService"].methods}
    assert methods == {call.partition(",")[0] for call in CALLS.keys() - OPEN.keys()}


def test_a_request_that_is_recognised_takes_its_own_callers_permissions(guarded: RunningServer) -> None:
    """The server has learnt it from another caller, and doesn't parse it."""
    ask = unary("Classify", ALL_LAYERS)
    with grpc.insecure_channel(guarded.target) as channel:
        for _ in range(2 * LEARNT_EVERY):
            assert ask(channel, bearer(secret("all")))
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, bearer(secret("predict")))
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_LACKING")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_may_do_nothing_but_what_is_open(guarded: RunningServer, stranger: str, call: str) -> None:
    metadata, reason = STRANGERS[stranger]
    with grpc.insecure_channel(guarded.target) as channel:
        if call in OPEN:
            assert CALLS[call](channel, metadata)
            return
        with pytest.raises(grpc.RpcError) as caught:
            CALLS[call](channel, metadata)
    assert outcome(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, reason)


@pytest.mark.parametrize("call", CALLS)
def test_without_a_file_of_tokens_anyone_may_do_everything(server: RunningServer, call: str) -> None:
    with grpc.insecure_channel(server.target) as channel:
        assert CALLS[call](channel, ())
        assert CALLS[call](channel, bearer("whatever"))


def test_without_tokens_no_token_is_blamed_for_a_missing_permission() -> None:
    with pytest.raises(PermissionDenied) as caught:
        ANYONE.require(Permission.PREDICT, Permission.ADMIN)
    assert str(caught.value) == (
        "this request needs a token with the permission 'admin', and this server has no tokens: "
        "its operator adds them with --tokens (VITRINE_TOKENS)"
    )
    named_so = Caller("anyone", frozenset([Permission.PREDICT]))
    with pytest.raises(PermissionDenied, match="the token 'anyone' lacks the permission 'parameters'"):
        named_so.require(Permission.PARAMETERS)


def outcome(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error.code()} {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "vitrine"
    return error.code(), info.reason


def test_a_stranger_does_not_learn_which_methods_there_are(guarded: RunningServer) -> None:
    with grpc.insecure_channel(guarded.target) as channel:
        call: Any = channel.unary_unary("/vitrine.v1.ClassifierService/Shutdown")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"")
        assert outcome(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", metadata=bearer(secret("all")))
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stranger_is_refused_before_sending_a_message(guarded: RunningServer) -> None:
    refused = threading.Event()

    def no_messages() -> Iterator[pb.ClassifyStreamRequest]:
        refused.wait()
        yield from ()

    with grpc.insecure_channel(guarded.target) as channel:
        answers = ClassifierServiceStub(channel).ClassifyStream(no_messages())
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        refused.set()
    assert outcome(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_the_client_sends_its_token(guarded: RunningServer, pixels: npt.NDArray[np.uint8]) -> None:
    with Client(guarded.target, token=secret("predict")) as client:
        assert client.classify(pixels[0], activations=None, preparation="none").digit in range(10)
        with pytest.raises(PermissionDeniedError, match="'predict' lacks the permission 'activations'"):
            client.classify(pixels[0], preparation="none")
        with pytest.raises(PermissionDeniedError, match="'predict' lacks the permission 'parameters'"):
            client.parameters("linear_1")
    with Client(guarded.target) as client, pytest.raises(AuthenticationError, match="this server wants a token"):
        client.model()


def classifies(target: str, token: str) -> bool:
    with Client(target, token=token, retries=0) as client:
        try:
            client.model()
        except AuthenticationError:
            return False
        return True


def test_tokens_rotate_without_a_restart(tiny_artifact: Path, tokens: Path) -> None:
    with running_server(tiny_artifact, "--tokens", tokens) as server:
        assert classifies(server.target, secret("alice"))
        assert not classifies(server.target, "new")
        replace(tokens, line("alice", "predict") + line("alice", "predict", "new"))
        assert classifies(server.target, secret("alice"))
        assert classifies(server.target, "new")
        replace(tokens, line("alice", "predict", "new"))
        assert not classifies(server.target, secret("alice"))
        assert classifies(server.target, "new")


def test_a_stream_ends_when_its_token_is_withdrawn(tiny_artifact: Path, tokens: Path) -> None:
    replaced = threading.Event()

    def messages() -> Iterator[pb.ClassifyStreamRequest]:
        yield pb.ClassifyStreamRequest(request=PLAIN)
        replaced.wait()
        yield pb.ClassifyStreamRequest(request=PLAIN)

    with running_server(tiny_artifact, "--tokens", tokens) as server, grpc.insecure_channel(server.target) as channel:
        answers = ClassifierServiceStub(channel).ClassifyStream(messages(), metadata=bearer(secret("alice")))
        assert len(next(answers).response.digits) == 1
        replace(tokens, line("bob", "predict"))
        replaced.set()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert outcome(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN")


def test_damaged_tokens_leave_those_before_in_force_and_the_log_says_why(
    tiny_artifact: Path, tokens: Path, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w+") as log, logged_server(log, tiny_artifact, "--tokens", tokens) as server:
        replace(tokens, "alice in-clear-by-mistake predict\n")
        assert classifies(server.target, secret("alice"))
        tokens.unlink()
        assert classifies(server.target, secret("alice"))
        assert not classifies(server.target, "in-clear-by-mistake")
    said = (tmp_path / "log").read_text()
    assert "line 1: the second word isn't the 64 hex digits of a token's SHA-256; the content before stays" in said
    assert f"{tokens} can't be read: No such file or directory; the content before stays" in said
    assert said.count("ERROR") == 2  # once for each change, not at each request
    assert "in-clear-by-mistake" not in said


DAMAGED = {
    "": "has no tokens: nobody could call",
    "# nobody\n": "has no tokens: nobody could call",
    "alice predict\n": "line 1: 2 words instead of three, NAME SHA256 PERMISSIONS",
    "\nalice my-secret predict\n": "line 2: the second word isn't the 64 hex digits of a token's SHA-256",
    line("alice", "my-secret"): "line 1: the third word isn't some of predict, activations, parameters, inter",
    line("alice", "predict") * 2: "line 2: a line above has the same token",
}


@pytest.mark.parametrize(("text", "says"), DAMAGED.items(), ids=DAMAGED.values())
def test_a_damaged_file_of_tokens_is_refused_and_not_repeated(
    tiny_artifact: Path, tokens: Path, text: str, says: str
) -> None:
    tokens.write_text(text)
    said = refused_start(tiny_artifact, VITRINE_TOKENS=str(tokens))
    assert says in said
    assert "my-secret" not in said


def test_tokens_that_are_no_text_are_refused(tiny_artifact: Path, tokens: Path) -> None:
    tokens.write_bytes(b"\xff\xfe")
    assert "isn't UTF-8 text" in refused_start(tiny_artifact, "--tokens", tokens)
