"""How the client reaches a server: retries, TLS, the token, and what it refuses to do."""

import math
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from client.conftest import Ask
from client.scripted import ScriptedServer, Step, fail, fail_inside, running
from support.serving import RunningServer

from vitrine.client import TLS, AsyncClient, Client, LimitError, UnavailableError, UsageError
from vitrine.client.advice import advise
from vitrine.client.connection import DEFAULT_TIMEOUT, Connection, channel_options
from vitrine.client.target import is_loopback

UNAVAILABLE = fail(grpc.StatusCode.UNAVAILABLE)
MORE_THAN_GRPC_KEEPS = 900  # images of 324 bytes; gRPC's own buffer for retries has 256 KiB


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def authority_pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


def server_credentials(authority: trustme.CA, *, asks_for_certificates: bool = False) -> grpc.ServerCredentials:
    leaf = authority.issue_cert("localhost")
    chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
    if asks_for_certificates:
        return grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain)], authority.cert_pem.bytes(), True)
    return grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain)])


@pytest.mark.parametrize("method", ["model", "health"])  # one of each service
def test_a_call_that_finds_nobody_is_sent_again(method: str, ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [UNAVAILABLE, UNAVAILABLE]
    assert ask(scripted.target, method)
    assert len(scripted.requests) == 3


def test_a_large_request_is_sent_again_too(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.limits.max_images = MORE_THAN_GRPC_KEEPS
    scripted.script = [lambda *_: None, UNAVAILABLE]  # the model's description, then the images
    images = np.zeros((MORE_THAN_GRPC_KEEPS, 18, 18), np.uint8)
    predictions = ask(scripted.target, "classify_many", images, activations=None, preparation="none")
    assert len(predictions) == MORE_THAN_GRPC_KEEPS
    assert scripted.sizes == [MORE_THAN_GRPC_KEEPS, MORE_THAN_GRPC_KEEPS]


@pytest.mark.parametrize("failure", [fail(grpc.StatusCode.INVALID_ARGUMENT), fail_inside])
def test_a_call_that_would_fail_again_is_sent_once(ask: Ask, scripted: ScriptedServer, failure: Step) -> None:
    scripted.script = [failure]
    with pytest.raises(Exception, match="told to"):
        ask(scripted.target, "model")
    assert len(scripted.requests) == 1


def test_a_proxys_word_that_its_server_has_died_is_no_answer(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(grpc.StatusCode.INTERNAL)]
    assert ask(scripted.target, "model")
    assert len(scripted.requests) == 2


def test_a_proxy_of_the_environment_isnt_used_for_this_machine(
    ask: Ask, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://localhost:1")
    assert ask(scripted.target, "health", options={"retries": 0})


def test_the_token_goes_to_this_machine_in_the_metadata(ask: Ask, scripted: ScriptedServer) -> None:
    ask(scripted.target, "model", options={"token": "secret"})
    assert scripted.metadata[0]["authorization"] == "Bearer secret"


def test_without_a_token_nothing_is_sent_of_one(ask: Ask, scripted: ScriptedServer) -> None:
    ask(scripted.target, "model")
    assert "authorization" not in scripted.metadata[0]


def test_every_call_carries_the_token(ask: Ask, scripted: ScriptedServer) -> None:
    options = {"token": "secret"}
    for method, *arguments in (["models"], ["parameters", "linear_1"], ["health"]):
        ask(scripted.target, method, *arguments, options=options)
    ask(scripted.target, "classify_many", [np.zeros((18, 18), np.uint8)], options=options)
    assert [metadata["authorization"] for metadata in scripted.metadata] == ["Bearer secret"] * 5


@pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
def test_tls_carries_the_token_once(
    ask: Ask, authority: trustme.CA, authority_pem: bytes, tmp_path: Path, as_file: bool
) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority_pem)
    tls = TLS(ca=path if as_file else authority_pem)
    with running(server_credentials(authority)) as server:
        assert ask(server.target, "health", options={"tls": tls, "token": "secret"})
        assert server.metadata[0]["authorization"] == "Bearer secret"


def test_a_server_may_ask_for_the_clients_certificate(ask: Ask, authority: trustme.CA, authority_pem: bytes) -> None:
    leaf = authority.issue_cert("client@example.org")
    tls = TLS(authority_pem, leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())
    with running(server_credentials(authority, asks_for_certificates=True)) as server:
        assert ask(server.target, "health", options={"tls": tls})


def certificate_for(authority: trustme.CA, name: str) -> grpc.ServerCredentials:
    leaf = authority.issue_cert(name)
    return grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())])


def test_a_certificate_for_another_name_is_taken_when_that_name_is_expected(
    ask: Ask, authority: trustme.CA, authority_pem: bytes
) -> None:
    with running(certificate_for(authority, "vitrine.example")) as server:
        with pytest.raises(UnavailableError, match=r"is for another name: .* TLS\(server_name=…\)"):
            ask(server.target, "health", options={"tls": TLS(authority_pem), "retries": 0})
        assert ask(server.target, "health", options={"tls": TLS(authority_pem, server_name="vitrine.example")})
        wrong = TLS(authority_pem, server_name="other.example")
        with pytest.raises(UnavailableError, match="is for another name"):
            ask(server.target, "health", options={"tls": wrong, "retries": 0})


def test_each_reason_for_no_connection_has_its_own_advice(
    ask: Ask, authority: trustme.CA, authority_pem: bytes, scripted: ScriptedServer
) -> None:
    def refused(target: str, **options: Any) -> str:
        with pytest.raises(UnavailableError) as caught:
            ask(target, "health", options={"retries": 0, **options})
        return str(caught.value)

    with running(server_credentials(authority)) as server:
        assert "no authority that this client trusts has signed" in refused(server.target, tls=True)
        assert "both sides use TLS or neither" in refused(server.target)
        silent = server.target
    assert "speaks no TLS, and this client does" in refused(scripted.target, tls=True)
    assert f"no server listens at {silent}" in refused(silent)
    assert "no machine is known by the name in no-such-host.invalid:1" in refused("no-such-host.invalid:1")


def test_behind_a_name_of_two_addresses_the_one_that_failed_first_is_thought_of() -> None:
    text = "failed to connect to all addresses; last error: UNKNOWN: ipv6:%5B::1%5D:1: Connection refused"
    unavailable = grpc.StatusCode.UNAVAILABLE
    said = advise(unavailable, text, "localhost:1", 1, None)
    assert "no server runs there, or the two don't agree on TLS" in said
    assert "call 127.0.0.1 in its place, and with TLS keep the name by TLS(server_name=…)" in said
    assert advise(unavailable, text, "[::1]:1", 1, None).startswith("no server listens at [::1]:1")


def test_a_token_that_is_too_large_isnt_called_a_large_message(ask: Ask, server: RunningServer) -> None:
    with pytest.raises(LimitError, match="the token, or other metadata, is too large"):
        ask(server.target, "models", options={"token": "a" * 20_000, "retries": 0})


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_variables_set_up_what_arguments_dont(
    make: type[Client] | type[AsyncClient], monkeypatch: pytest.MonkeyPatch, authority_pem: bytes, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority_pem)
    monkeypatch.setenv("VITRINE_TARGET", "example.org:1")
    monkeypatch.setenv("VITRINE_TOKEN", "secret")
    with pytest.raises(UsageError, match=r"would travel to example\.org:1 unencrypted"):
        make()
    monkeypatch.setenv("VITRINE_CLIENT_TLS_CA", str(tmp_path / "ca.pem"))
    assert make().target == "example.org:1"
    assert make("localhost:2", tls=False).target == "localhost:2"
    monkeypatch.setenv("VITRINE_CLIENT_TLS", "perhaps")
    with pytest.raises(UsageError, match="VITRINE_CLIENT_TLS is 1 or 0, not 'perhaps'"):
        make()


def test_a_client_without_arguments_calls_the_server_of_the_variables(
    ask: Ask, authority: trustme.CA, authority_pem: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority_pem)
    with running(certificate_for(authority, "vitrine.example")) as server:
        for name, value in {
            "TARGET": server.target,
            "TOKEN": "secret",
            "CLIENT_TLS_CA": str(tmp_path / "ca.pem"),
            "CLIENT_TLS_SERVER_NAME": "vitrine.example",
        }.items():
            monkeypatch.setenv(f"VITRINE_{name}", value)
        assert ask(None, "health")
        assert server.metadata[0]["authorization"] == "Bearer secret"


def test_the_token_of_the_environment_goes_to_the_target_of_the_environment_alone(
    ask: Ask, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_TOKEN", "secret")
    monkeypatch.setenv("VITRINE_TARGET", "example.org:1")
    ask(scripted.target, "models")
    monkeypatch.setenv("VITRINE_TARGET", scripted.target)
    ask(scripted.target, "models")
    ask(scripted.target, "models", options={"token": "another"})
    ask(scripted.target, "models", options={"token": False})
    assert [sent.get("authorization") for sent in scripted.metadata] == [None, "Bearer secret", "Bearer another", None]


def test_a_server_that_nobody_vouches_for_isnt_talked_to(ask: Ask, authority: trustme.CA) -> None:
    tls = TLS(ca=trustme.CA().cert_pem.bytes())
    with running(server_credentials(authority)) as server:
        with pytest.raises(UnavailableError):
            ask(server.target, "health", options={"tls": tls, "token": "secret", "retries": 0})
        assert server.requests == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": "example.org:1", "token": "secret"}, "would travel to example.org:1 unencrypted"),
    ({"token": "two\nlines"}, "no HTTP header can carry"),
    ({"token": ""}, "the token is empty"),
    ({"timeout": 0}, "above 0, or math.inf for none, not 0"),
    ({"timeout": math.nan}, "above 0, or math.inf for none, not nan"),
    ({"timeout": -math.inf}, "above 0, or math.inf for none, not -inf"),
    ({"timeout": "5"}, "above 0, or math.inf for none, not '5'"),
    ({"timeout": None}, "above 0, or math.inf for none, not None"),
    ({"retries": 5}, "retries is 0 to 4, not 5"),
    ({"retries": None}, "retries is 0 to 4, not None"),
    ({"retries": True}, "retries is 0 to 4, not True"),
    ({"max_message_bytes": None}, "max_message_bytes is 1 to 2,147,483,647, not None"),
    ({"max_image_pixels": 1.5}, "max_image_pixels is 1 to 178,000,000, not 1.5"),
    ({"token": 5}, "the token is text, not int"),
    ({"tls": "ca.pem"}, r"tls is True, or TLS\(…\) with the files to use, not 'ca.pem'"),
    ({"max_message_bytes": 0}, "max_message_bytes is 1 to"),
    ({"max_image_pixels": 0}, "max_image_pixels is 1 to 178,000,000, not 0"),
    ({"max_image_pixels": 178_000_001}, "max_image_pixels is 1 to 178,000,000, not 178,000,001"),
    ({"tls": TLS(ca="/no/such/ca.pem")}, "can't read the TLS file /no/such/ca.pem: No such file"),
    ({"tls": TLS(ca=b"certificate")}, "the TLS ca isn't PEM"),
    ({"tls": TLS(cert="/dev/null", key=b"-----BEGIN")}, "the TLS cert from /dev/null isn't PEM"),
]


@pytest.mark.parametrize(
    "target",
    [
        *(
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:99999",
            "localhost:66000",
            "localhost:port",
            ":50051",
            "",
        ),
        *(
            "http://localhost:50051",
            "https://example.org",
            "grpc://localhost:1",
            "localhost:50051/path",
            "::1",
            "::1:1",
        ),
        *(
            "a:1,b:2",
            "local host:1",
            "dns:///localhost:99999",
            "dns:localhost:65536",
            "ipv4:127.0.0.1:1,127.0.0.1:99999",
        ),
        *("ipv6:[::1]:99999", "localhost:" + "9" * 5000, b"localhost:1", 50051),
    ],
)
@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_a_target_that_no_server_has_is_refused(make: type[Client] | type[AsyncClient], target: Any) -> None:
    with pytest.raises(UsageError, match=r"^the target is HOST:PORT, such as localhost:50051, not "):
        make(target)


@pytest.mark.parametrize(
    "target",
    [
        *("localhost:50051", "example.org:1", "10.0.0.1:65535", "[::1]:50051", "[fe80::1%eth0]:1", "under_score:1"),
        *("dns:///example.org", "dns:///example.org:1", "dns://10.0.0.1/localhost:1", "dns:localhost:1"),
        *("ipv4:127.0.0.1:1,127.0.0.2:2", "ipv6:[::1]:1,[::2]:2", "ipv6:::1", "unix:/run/a:99999", "unix:///run/a"),
        *("unix-abstract:a", "vsock:1:2", "xds:///service", "google-c2p:///service"),
    ],
)
def test_every_target_that_grpc_resolves_is_taken(target: str) -> None:
    assert Connection(target).target == target


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_choices_that_cant_work_are_refused(
    make: type[Client] | type[AsyncClient], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cert": b"certificate"}, "both cert and key"),
        ({"ca": 5}, "the TLS ca is the path of a PEM file, or its bytes, not int"),
        ({"server_name": ""}, "the TLS server_name is a host's name, not ''"),
    ],
)
def test_files_of_tls_that_cant_work_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TLS(**fields)


ADVICE_FOR_TARGETS = {
    "localhost": "it has no port; the server's default is localhost:50051",
    "localhost:": "it has no port; the server's default is localhost:50051",
    "[::1]": r"it has no port; the server's default is \[::1\]:50051",
    "http://localhost:50051": "it is a URL; write localhost:50051$",
    "https://example.org": r"it is a URL; write example.org:50051, with tls=True \(--tls\)$",
    "grpcs://[::1]:1/path": r"it is a URL; write \[::1\]:1, with tls=True",
    "http://localhost:port": "it is a URL$",
    "::1": r"put an IPv6 address in brackets, and a port behind it, as in \[::1\]:50051",
    "localhost:99999": "a port is 1 to 65535",
    "localhost:0": "a port is 1 to 65535",
    "ipv4:127.0.0.1:99999": "a port is 1 to 65535",
    "localhost:50051/path": "leave out what is behind the port",
    ":50051": "it has no host",
    "user@localhost:1": "leave out what is before the @, and pass a token as token=",
    "ipv4:1.2.3.4:1,1.2.3": "'1.2.3' is no such address",
    "ipv6:[::g]:1": r"'\[::g\]:1' is no such address",
    "a:1,b:2": "several addresses need a scheme, as in ipv4:",
}
"""What to write instead of a target that can't be meant."""


@pytest.mark.parametrize("target", ADVICE_FOR_TARGETS)
def test_a_wrong_target_comes_with_what_to_write_instead(target: str) -> None:
    with pytest.raises(UsageError, match=ADVICE_FOR_TARGETS[target]):
        Client(target)


@pytest.mark.parametrize(
    "target",
    [
        "localhost",
        "localhost:50051",
        "127.0.0.1:50051",
        "127.1.2.3",
        "[::1]:50051",
        "::1",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:/run/vitrine.sock",
    ],
)
def test_a_target_on_this_machine_is_known(target: str) -> None:
    assert is_loopback(target)


@pytest.mark.parametrize(
    "target",
    [
        "example.org:50051",
        "localhost.example.org:1",
        "10.0.0.1:1",
        "[2001:db8::1]:1",
        "[::1]example.org:1",
        "dns://10.0.0.1/localhost:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "127.0.0.1.example.org",
        "0.0.0.0:1",
        "",
    ],
)
def test_a_target_that_may_lead_elsewhere_is_known(target: str) -> None:
    assert not is_loopback(target)


def test_no_secret_is_in_a_repr() -> None:
    tls = TLS(b"ca", b"cert", b"very-secret")
    shown = repr(Connection(tls=tls, token="very-secret")) + repr(Client(tls=None, token="very-secret"))
    assert "very-secret" not in shown


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e20, 1e10, 10**20])
def test_a_timeout_beyond_what_grpc_holds_is_no_deadline(seconds: float, ask: Ask, scripted: ScriptedServer) -> None:
    remaining: list[float | None] = []
    scripted.script = [lambda _, context: remaining.append(context.time_remaining())]
    ask(scripted.target, "model", timeout=seconds)
    # gRPC says "none" as None or as centuries
    assert remaining[0] is None or remaining[0] > 1e9


@pytest.mark.parametrize("seconds", [1e20, 1e9, 1e8])
def test_a_very_long_timeout_classifies_many(seconds: float, ask: Ask, scripted: ScriptedServer) -> None:
    images = np.zeros((9, 18, 18), np.uint8)
    assert len(ask(scripted.target, "classify_many", images, preparation="none", timeout=seconds)) == 9


def test_every_call_has_a_deadline_by_default(ask: Ask, scripted: ScriptedServer) -> None:
    remaining: list[float] = []
    scripted.script = [lambda _, context: remaining.append(context.time_remaining())]
    ask(scripted.target, "model")
    assert 0 < remaining[0] <= 31


def test_a_dead_connection_fails_before_the_default_deadline() -> None:
    options = dict(channel_options(Connection()))
    noticed_ms = int(options["grpc.keepalive_time_ms"]) + int(options["grpc.keepalive_timeout_ms"])
    assert noticed_ms < 1000 * DEFAULT_TIMEOUT


def test_an_idle_connection_isnt_probed() -> None:
    assert "grpc.keepalive_permit_without_calls" not in dict(channel_options(Connection()))


def test_the_message_limit_reaches_the_channel() -> None:
    assert ("grpc.max_receive_message_length", 5) in channel_options(Connection(max_message_bytes=5))
