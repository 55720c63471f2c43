"""TLS and mutual TLS with good, wrong, expired, damaged and replaced certificates, against real servers."""

import hashlib
import re
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import trustme
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from support.scrapes import measured_server
from support.serving import (
    SERVER,
    RunningServer,
    becomes,
    comes,
    logged_server,
    open_log,
    refused_start,
    running_server,
)

from vitrine.client import TLS, AuthenticationError, Client, PermissionDeniedError, UnavailableError
from vitrine.server.cli import main
from vitrine.server.errors import FileError
from vitrine.server.process.port import can_be_shared
from vitrine.server.security.addresses import is_loopback
from vitrine.server.security.certificates import TlsFiles, read_certificates

SHARED_PORT = pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")

HOST = "127.0.0.1"
DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    """An authority that nobody has heard of."""
    return trustme.CA()


def chain_of(leaf: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def expired(authority: trustme.CA, name: str) -> trustme.LeafCert:
    """A certificate that held for a month, a year ago."""
    year_ago = datetime.now(UTC) - timedelta(days=365)
    return authority.issue_cert(name, not_before=year_ago, not_after=year_ago + timedelta(days=30))


def publish(files: TlsFiles, leaf: trustme.LeafCert) -> None:
    """Puts a certificate and its key in place, each by a rename."""
    for path, content in ((files.cert, chain_of(leaf)), (files.key, leaf.private_key_pem.bytes())):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.rename(path)


def flags(files: TlsFiles) -> list[str | Path]:
    mutual: list[str | Path] = [] if files.client_ca is None else ["--tls-client-ca", files.client_ca]
    return ["--tls-cert", files.cert, "--tls-key", files.key, *mutual]


def files_in(folder: Path, leaf: trustme.LeafCert, client_ca: trustme.CA | None = None) -> TlsFiles:
    files = TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem" if client_ca else None)
    publish(files, leaf)
    if client_ca is not None and files.client_ca is not None:
        client_ca.cert_pem.write_to_path(files.client_ca)
    return files


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    """A good certificate and its key."""
    return files_in(tmp_path, authority.issue_cert(HOST))


def trusting(authority: trustme.CA, leaf: trustme.LeafCert | None = None) -> TLS:
    """What a client trusts, and presents."""
    if leaf is None:
        return TLS(ca=authority.cert_pem.bytes())
    return TLS(authority.cert_pem.bytes(), chain_of(leaf), leaf.private_key_pem.bytes())


def connects(target: str, tls: TLS | None) -> bool:
    """Whether a new connection gets an answer."""
    with Client(target, tls=tls, retries=0) as client:
        try:
            return bool(client.model().layers)
        except UnavailableError:
            return False


@pytest.fixture(scope="module")
def encrypted(
    tiny_artifact: Path, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with TLS."""
    files = files_in(tmp_path_factory.mktemp("tls"), authority.issue_cert(HOST))
    with running_server(tiny_artifact, *flags(files)) as running:
        yield running


@pytest.fixture(scope="module")
def mutual(
    tiny_artifact: Path, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with mutual TLS."""
    files = files_in(tmp_path_factory.mktemp("mtls"), authority.issue_cert(HOST), authority)
    with running_server(tiny_artifact, *flags(files)) as running:
        yield running


def test_tls_encrypts_for_who_trusts_the_authority(
    encrypted: RunningServer, authority: trustme.CA, pixels: npt.NDArray[np.uint8]
) -> None:
    with Client(encrypted.target, tls=trusting(authority)) as client:
        assert client.classify(pixels[0], preparation="none").digit in range(10)


def test_plaintext_is_not_answered_on_a_tls_port(encrypted: RunningServer) -> None:
    assert not connects(encrypted.target, None)


def test_who_trusts_another_authority_does_not_connect(encrypted: RunningServer, stranger: trustme.CA) -> None:
    assert not connects(encrypted.target, trusting(stranger))


def test_a_certificate_for_another_name_is_not_trusted(
    tiny_artifact: Path, tmp_path: Path, authority: trustme.CA
) -> None:
    files = files_in(tmp_path, authority.issue_cert("elsewhere.example"))
    with running_server(tiny_artifact, *flags(files)) as server:
        assert not connects(server.target, trusting(authority))


def test_an_expired_server_certificate_is_not_trusted_until_it_is_renewed(
    tiny_artifact: Path, tmp_path: Path, authority: trustme.CA
) -> None:
    files = files_in(tmp_path, expired(authority, HOST))
    with running_server(tiny_artifact, *flags(files)) as server:
        assert not connects(server.target, trusting(authority))
        publish(files, authority.issue_cert(HOST))
        assert becomes(lambda: connects(server.target, trusting(authority)), True)


def test_mutual_tls_takes_a_certificate_of_its_authority(mutual: RunningServer, authority: trustme.CA) -> None:
    assert connects(mutual.target, trusting(authority, authority.issue_cert("client.example")))


def test_mutual_tls_takes_no_client_without_a_certificate(mutual: RunningServer, authority: trustme.CA) -> None:
    assert not connects(mutual.target, trusting(authority))


def test_mutual_tls_takes_no_expired_certificate(mutual: RunningServer, authority: trustme.CA) -> None:
    assert not connects(
        mutual.target,
        trusting(
            authority,
            expired(authority, "client.example"),
        ),
    )


def test_mutual_tls_takes_no_foreign_certificate(
    mutual: RunningServer, authority: trustme.CA, stranger: trustme.CA
) -> None:
    assert not connects(mutual.target, trusting(authority, stranger.issue_cert("client.example")))


def test_another_client_authority_counts_from_the_next_connection_on(
    tiny_artifact: Path, tmp_path: Path, authority: trustme.CA, stranger: trustme.CA
) -> None:
    files = files_in(tmp_path, authority.issue_cert(HOST), authority)
    ours, theirs = (trusting(authority, ca.issue_cert("client.example")) for ca in (authority, stranger))
    with running_server(tiny_artifact, *flags(files)) as server:
        assert (connects(server.target, ours), connects(server.target, theirs)) == (True, False)
        assert files.client_ca is not None
        stranger.cert_pem.write_to_path(tmp_path / "new")
        (tmp_path / "new").rename(files.client_ca)
        assert becomes(lambda: connects(server.target, theirs), True)
        assert not connects(server.target, ours)


def presented(target: str) -> str:
    """The certificate that a new connection is shown."""
    host, port = target.rsplit(":", 1)
    return ssl.get_server_certificate((host, int(port)))


def leaf_of(files: TlsFiles) -> str:
    first, end, _ = files.cert.read_text().partition("-----END CERTIFICATE-----\n")
    return first + end


def test_a_replaced_certificate_is_shown_to_the_next_connection_and_breaks_none(
    tiny_artifact: Path, files: TlsFiles, authority: trustme.CA
) -> None:
    with (
        running_server(tiny_artifact, *flags(files)) as server,
        Client(server.target, tls=trusting(authority), retries=0) as client,
    ):
        assert client.model()
        old = leaf_of(files)
        assert presented(server.target) == old
        for _ in range(3):
            publish(files, authority.issue_cert(HOST))
            assert becomes(lambda: presented(server.target), leaf_of(files)) == leaf_of(files) != old
            assert connects(server.target, trusting(authority))
        assert client.model()  # on its connection of before


def test_a_damaged_replacement_leaves_the_old_certificate_and_the_log_says_why(
    tiny_artifact: Path, files: TlsFiles, tmp_path: Path, authority: trustme.CA
) -> None:
    def damages() -> int:
        return (tmp_path / "log").read_text().count("the content before stays in force")

    with (tmp_path / "log").open("w+") as log, logged_server(log, tiny_artifact, *flags(files)) as server:
        old, key = leaf_of(files), files.key.read_bytes()
        half = files.cert.read_bytes()[:200]
        files.cert.write_bytes(half)
        assert presented(server.target) == presented(server.target) == old
        assert comes(damages, 1) == 1
        publish(files, authority.issue_cert(HOST))
        files.key.write_bytes(key)  # the new certificate with the old key
        assert presented(server.target) == old
        assert comes(damages, 2) == 2
        files.key.unlink()
        assert presented(server.target) == old
        assert comes(damages, 3) == 3
        publish(files, authority.issue_cert(HOST))
        assert becomes(lambda: presented(server.target), leaf_of(files)) == leaf_of(files) != old
        said = (tmp_path / "log").read_text()
    assert said.count("the content before stays in force") == 3  # once for each change, not at each connection
    assert "aren't a certificate and its unencrypted private key, both in PEM: key values mismatch" in said
    assert f"{files.key} can't be read: No such file or directory" in said


def self_signed(key: CertificateIssuerPrivateKeyTypes) -> tuple[bytes, bytes]:
    """A certificate and its key, in PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.not_valid_before(today).not_valid_after(today + timedelta(days=90)).public_key(key.public_key())
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return signed.public_bytes(pem), key.private_bytes(pem, form, serialization.NoEncryption())


BOM = "\ufeff".encode()
P256, P521 = self_signed(ec.generate_private_key(ec.SECP256R1())), self_signed(ec.generate_private_key(ec.SECP521R1()))
UNUSABLE = {
    "ed25519": self_signed(ed25519.Ed25519PrivateKey.generate()),
    "p521": P521,
    "a byte order mark before the certificate": (BOM + P256[0], P256[1]),
    "a byte order mark before the key": (P256[0], BOM + P256[1]),
}
"""Certificates and keys that OpenSSL takes and gRPC doesn't."""


@pytest.mark.parametrize("pair", UNUSABLE.values(), ids=UNUSABLE)
def test_a_certificate_that_grpc_can_not_use_is_refused(
    tiny_artifact: Path, files: TlsFiles, pair: tuple[bytes, bytes]
) -> None:
    files.cert.write_bytes(pair[0])
    files.key.write_bytes(pair[1])
    said = refused_start(tiny_artifact, *flags(files))
    assert f"{files.cert} and {files.key} can't be used by gRPC, and no client would get in" in said


def test_authorities_that_grpc_can_not_use_are_refused(
    tiny_artifact: Path, tmp_path: Path, authority: trustme.CA
) -> None:
    files = files_in(tmp_path, authority.issue_cert(HOST), authority)
    assert files.client_ca is not None
    files.client_ca.write_bytes(BOM + files.client_ca.read_bytes())
    assert f"{files.client_ca} can't be used by gRPC" in refused_start(tiny_artifact, *flags(files))


@pytest.mark.parametrize("kind", ["RSA", "P-384"])
def test_other_certificates_are_taken(tiny_artifact: Path, files: TlsFiles, kind: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP384R1())
    chain, files_key = self_signed(key)
    files.cert.write_bytes(chain)
    files.key.write_bytes(files_key)
    with running_server(tiny_artifact, *flags(files)) as server:
        assert presented(server.target) == chain.decode()


def test_a_renewed_certificate_that_grpc_can_not_use_leaves_the_old_one(
    tiny_artifact: Path, files: TlsFiles, authority: trustme.CA
) -> None:
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags(files)) as server:
        old = leaf_of(files)
        for content, path in zip(P521, (files.cert, files.key), strict=True):
            path.write_bytes(content)
        assert presented(server.target) == presented(server.target) == old
        assert connects(server.target, trusting(authority))
        assert len(log.wait_for(r"(can't be used by gRPC, and no client would get in.*stays in force)")) == 1
        publish(files, authority.issue_cert(HOST))
        assert becomes(lambda: presented(server.target), leaf_of(files)) == leaf_of(files) != old


def test_many_connections_at_a_renewal_neither_hold_it_up_nor_fail(
    tiny_artifact: Path, files: TlsFiles, authority: trustme.CA
) -> None:
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags(files)) as server:
        publish(files, authority.issue_cert(HOST))
        with ThreadPoolExecutor(40) as connecting:
            shown = list(connecting.map(presented, [server.target] * 40))
        assert len(shown) == 40
        log.wait_for(r"(read again, because of a change)")
        assert becomes(lambda: presented(server.target), leaf_of(files)) == leaf_of(files)
    assert "couldn't be tried" not in log.text


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=SHARED_PORT)])
def test_the_end_of_a_certificate_is_a_metric_and_a_near_one_is_said(
    tiny_artifact: Path, tmp_path: Path, authority: trustme.CA, workers: str
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)
    files = files_in(tmp_path, authority.issue_cert(HOST, not_after=end))
    with measured_server(tiny_artifact, *flags(files), "--workers", workers) as server:
        shown = server.scrape_when(lambda scrape: "vitrine_certificate_expiry_timestamp_seconds" in scrape.names)
        assert shown.value("vitrine_certificate_expiry_timestamp_seconds") == end.timestamp()
        assert server.log.wait_for(r"the certificate in \S+ expires in (\S+) days")[0] in ("4.9", "5.0")


def test_an_expired_certificate_is_said(tiny_artifact: Path, tmp_path: Path, authority: trustme.CA) -> None:
    files = files_in(tmp_path, expired(authority, HOST))
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags(files)) as server:
        log.wait_for(r"the certificate in \S+ (has expired)")
        server.stop()


def test_files_that_do_not_belong_together_are_refused(
    tiny_artifact: Path, files: TlsFiles, authority: trustme.CA
) -> None:
    authority.issue_cert(HOST).private_key_pem.write_to_path(files.key)
    assert "key values mismatch" in refused_start(tiny_artifact, *flags(files))


def test_a_missing_file_is_refused(tiny_artifact: Path, files: TlsFiles) -> None:
    files.key.unlink()
    assert f"{files.key} can't be read" in refused_start(tiny_artifact, *flags(files))


def test_an_authority_without_certificates_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(FileError, match="has no certificates in PEM"):
        read_certificates(TlsFiles(files.cert, files.key, empty))


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    files.key.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"hidden")))
    with pytest.raises(FileError, match="unencrypted private key"):
        read_certificates(files)


@pytest.mark.parametrize("flag", ["--tls-cert", "--tls-key", "--tls-client-ca"])
def test_half_of_tls_is_refused(tiny_artifact: Path, files: TlsFiles, flag: str) -> None:
    command: list[str | Path] = [SERVER, tiny_artifact, flag, files.cert]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "TLS needs both --tls-cert and --tls-key" in ended.stderr


@pytest.mark.parametrize("name", ["TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "TOKENS"])
def test_an_empty_variable_does_not_leave_the_server_open(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"VITRINE_{name}", "")
    ended = CliRunner().invoke(main, [])
    assert ended.exit_code == 2
    assert f"VITRINE_{name} is set and empty" in ended.output


def test_plaintext_to_other_machines_is_refused_and_says_what_to_do(tiny_artifact: Path) -> None:
    said = refused_start(tiny_artifact, "--host", "0.0.0.0")
    assert "other machines can reach 0.0.0.0" in said
    assert "--tls-cert" in said
    assert "--insecure (VITRINE_INSECURE=1)" in said


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost:5000", "[::1]:5000"])
def test_a_host_with_a_port_is_not_said_to_be_in_reach_of_others(tiny_artifact: Path, host: str) -> None:
    said = refused_start(tiny_artifact, "--host", host)
    assert f"{host!r} is no known name or address of a host, and a port is no part of it" in said
    assert "other machines" not in said


def test_plaintext_to_other_machines_can_be_allowed_as_the_container_does(tiny_artifact: Path) -> None:
    containers = dict(re.findall(r"^ +(VITRINE_\w+)=(\S+)", DOCKERFILE.read_text(), re.MULTILINE))
    with running_server(tiny_artifact, **containers) as server:
        assert connects(server.target.replace("0.0.0.0", HOST), None)


def test_tls_to_other_machines_needs_no_permission(tiny_artifact: Path, files: TlsFiles, authority: trustme.CA) -> None:
    with running_server(tiny_artifact, "--host", "0.0.0.0", *flags(files)) as server:
        assert connects(server.target.replace("0.0.0.0", HOST), trusting(authority))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_address_is_this_machines_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "vitrine.example", "localhost.example"])
def test_any_other_address_is_not(host: str) -> None:
    assert not is_loopback(host)


TOKEN = "never-to-be-written-down"


def test_no_secret_reaches_the_log(tiny_artifact: Path, files: TlsFiles, tmp_path: Path, authority: trustme.CA) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {hashlib.sha256(TOKEN.encode()).hexdigest()} predict\n")
    settings = (*flags(files), "--tokens", tokens, "--log-level", "debug")
    with (tmp_path / "log").open("w+") as log, logged_server(log, tiny_artifact, *settings) as server:
        for token in (TOKEN, TOKEN[::-1]):
            with Client(server.target, tls=trusting(authority), token=token) as client, suppress(AuthenticationError):
                assert client.model()
                with pytest.raises(PermissionDeniedError):
                    client.parameters("linear_1")
        key = files.key.read_text()
        files.cert.write_text(key)
        tokens.write_text(TOKEN)
        with Client(server.target, tls=trusting(authority), token=TOKEN) as client:
            assert client.model()  # with the certificate and the token of before
        assert comes(lambda: (tmp_path / "log").read_text().count("the content before stays in force"), 2) == 2
        assert server.stop() == 0
    said = (tmp_path / "log").read_text()
    assert said.count("the content before stays in force") == 2
    secrets = [TOKEN, TOKEN[::-1], *key.splitlines()[1:-1]]
    assert [secret for secret in secrets if secret in said] == []
