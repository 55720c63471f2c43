"""What to do about calls that gRPC itself ended: its own texts are for its developers.

It knows gRPC's statuses and the words in its texts, and no error class.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import urlsplit

import grpc

ADVICE: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: "the call to {target} was cancelled",
        grpc.StatusCode.DEADLINE_EXCEEDED: (
            "{target} didn't answer within {timeout:g} s: give a longer timeout, or ask for less at once"
        ),
        grpc.StatusCode.PERMISSION_DENIED: "the token doesn't allow this call to {target}",
        grpc.StatusCode.UNAUTHENTICATED: "{target} wants a valid token: pass it as token=",
        grpc.StatusCode.RESOURCE_EXHAUSTED: (
            "a message to or from {target} is too large: ask for fewer images or layers at once, "
            "or raise max_message_bytes"
        ),
        grpc.StatusCode.UNIMPLEMENTED: (
            "{target} doesn't know this call: it runs an older Vitrine, or another service listens there"
        ),
        grpc.StatusCode.UNAVAILABLE: (
            "no answer from {target}: check that the server runs there, and that both sides use TLS or neither"
        ),
    }
)
"""Texts by the status of a call."""

BUSY = "{target} has too much to do: send it again in {retry_after:g} s"
"""Text for a call that something before the server refuses for now, such as a proxy."""

ONLY_THE_LAST = (
    "no answer from {target}: no server runs there, or the two don't agree on TLS. gRPC says only why the last address "
    "of that name, ::1, failed: call 127.0.0.1 in its place, and with TLS keep the name by TLS(server_name=…) "
    "(--tls-server-name), to be told the reason"
)
"""Text for a name of several addresses, such as localhost: the reason may be that of an address before the last."""

UNREACHABLE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("Hostname Verification Check failed", "is not in peer certificate"),
        "the certificate of {target} is for another name: call the server by a name in its certificate, or name it "
        "with TLS(server_name=…) (--tls-server-name)",
    ),
    (
        ("certificate has expired", "certificate is not yet valid"),
        "the certificate of {target} isn't valid at this time: check this machine's clock, or renew it",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "no authority that this client trusts has signed the certificate of {target}: pass its own as TLS(ca=…) "
        "(--tls-ca)",
    ),
    (
        ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE"),
        "{target} refuses this client's certificate, or wants one: pass TLS(cert=…, key=…) (--tls-cert, --tls-key)",
    ),
    (
        ("WRONG_VERSION_NUMBER",),
        "{target} speaks no TLS, and this client does: connect without tls (--tls), or turn TLS on in the server",
    ),
    (
        ("lookup error", "lookup failed", "Domain name not found", "DNS resolution failed"),
        "no machine is known by the name in {target}: check the host",
    ),
    (
        ("Connection refused",),
        "no server listens at {target}: check host and port, and that the server runs",
    ),
)
"""Words in gRPC's text for UNAVAILABLE, and what they mean; the first that fit count."""

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables that gRPC takes a proxy from; the first that is set counts."""

THROUGH_A_PROXY = (
    "{target} can't be reached through the proxy that {variable} names: check the proxy, or put the host into no_proxy"
)
"""Text for a proxy that is gone, or refuses to lead to the server."""

METADATA_TOO_LARGE = (
    "the token, or other metadata, is too large for {target}: servers take about 8 KiB; is it the right token?"
)
"""Text for metadata beyond the server's limit, which has the same status as a message beyond it."""


def advise(code: grpc.StatusCode, text: str, target: str, timeout: float, retry_after: float | None) -> str:
    """What to do about a call that gRPC ended, not Vitrine's server; empty where gRPC's own text must do.

    Args:
        code: status of the call.
        text: gRPC's text.
        target: address of the server.
        timeout: deadline in seconds.
        retry_after: seconds after which to send it again, if something before the server said so.
    """
    advice = ADVICE.get(code, "")
    if code is grpc.StatusCode.UNAVAILABLE:
        advice = _why_unreachable(text, target) or advice
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after is not None:
        advice = BUSY
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "metadata size exceeds" in text:
        advice = METADATA_TOO_LARGE
    return advice.format(
        target=target, timeout=timeout, retry_after=retry_after, variable=_proxy_at_fault(text, target)
    )


def _why_unreachable(text: str, target: str) -> str:
    if "%5B::1%5D" in text and "::1" not in target and "Connection refused" in text:
        return ONLY_THE_LAST
    if _proxy_at_fault(text, target):
        return THROUGH_A_PROXY
    return next((advice for words, advice in UNREACHABLE if any(word in text for word in words)), "")


def _proxy_at_fault(text: str, target: str) -> str:
    """The variable of the proxy that gRPC's text is about, by its words or port; empty: it is about no proxy."""
    variable = next((name for name in PROXIES if os.environ.get(name)), "")
    port = None
    with suppress(ValueError):  # no number: gRPC takes no such proxy
        port = urlsplit(os.environ.get(variable, "")).port
    by_port = port is not None and f":{port}: " in text and not target.endswith(f":{port}")
    return variable if "HTTP proxy" in text or by_port else ""
