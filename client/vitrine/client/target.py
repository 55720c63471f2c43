"""The target of a connection: the names that gRPC resolves, and which of them stay on this machine.

It reads text and asks no resolver.
"""

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from vitrine.client.errors import UsageError

DEFAULT_TARGET = "localhost:50051"
"""Default address of `vitrine-server`."""

SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p")
"""The schemes of targets that gRPC resolves; see its document on name resolution. Anything else is HOST:PORT."""

HOST_AND_PORT = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/,@\s]+):(?P<port>[0-9]+)")
"""A host name, an IPv4 address, or an IPv6 address in brackets; and a port."""

HOST = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/,@\s]+):?")
"""The same without a port."""

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
"""The beginning of a URL."""

ENCRYPTED = ("https", "grpcs")
"""The schemes of URLs that mean TLS."""

RESOLVED_PORT = re.compile(r"(?<=[^:]):(?P<port>[0-9]+)(?=,|$)")
"""A port in a target with a scheme: gRPC would take 99999 modulo 65536."""

MAX_PORT = 65535
"""Largest port."""


def check_target(target: str) -> None:
    """Raises `UsageError`, with what to write instead, unless it is HOST:PORT, or has one of gRPC's own schemes."""
    scheme, colon, _ = target.partition(":") if isinstance(target, str) else ("", "", "")
    if colon and scheme in SCHEMES:
        ports = RESOLVED_PORT.finditer(target) if scheme in ("dns", "ipv4", "ipv6") else ()
        if all(int(found["port"][:6]) <= MAX_PORT for found in ports) and not _wrong_addresses(target):
            return
    elif colon and (found := HOST_AND_PORT.fullmatch(target)) and 1 <= int(found["port"][:6]) <= MAX_PORT:
        return
    raise UsageError(f"the target is HOST:PORT, such as {DEFAULT_TARGET}, not {target!r:.80}{_advice(target)}")


def may_name_several(target: str) -> bool:
    """True if a target may name several servers, whose calls are balanced: `dns:…`, or a list such as `ipv4:A:1,B:1`.

    HOST:PORT names one: where its name has several addresses, as `localhost` has, one that answers is taken.
    """
    scheme, _, rest = target.partition(":")
    return scheme == "dns" or (scheme in ("ipv4", "ipv6") and "," in unquote(rest))


def _advice(target: object) -> str:
    """What to write instead of a target that gRPC couldn't resolve, or would misunderstand; may be empty."""
    if not isinstance(target, str):
        return ""
    if URL.match(target):
        return _advice_for_url(target)
    if HOST.fullmatch(target):
        return f": it has no port; the server's default is {target.rstrip(':')}:50051"
    if _version_of(target) == 6:
        return f": put an IPv6 address in brackets, and a port behind it, as in [{target}]:50051"
    if wrong := _wrong_addresses(target):
        return f": {wrong[0]!r:.80} is no such address"
    if "@" in target.partition(":")[0]:
        return ": leave out what is before the @, and pass a token as token="
    if target.partition(":")[0] in SCHEMES or HOST_AND_PORT.fullmatch(target):
        return f": a port is 1 to {MAX_PORT}"
    if HOST_AND_PORT.match(target):
        several = "," in target
        return ": several addresses need a scheme, as in ipv4:" if several else ": leave out what is behind the port"
    return ": it has no host" if target.startswith(":") else ""


def _wrong_addresses(target: str) -> list[str]:
    """The addresses after `ipv4:` or `ipv6:` that are none: gRPC has no error of its own for them."""
    scheme, _, rest = target.partition(":")
    version = {"ipv4": 4, "ipv6": 6}.get(scheme)
    addresses = unquote(rest).lstrip("/").split(",") if version else []
    return [address for address in addresses if _version_of(_host_of(address)) != version]


def _advice_for_url(target: str) -> str:
    try:
        url = urlsplit(target)
        host, port = url.hostname or "HOST", url.port or 50051
    except ValueError:  # its port is no number
        return ": it is a URL"
    written = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    encrypted = ", with tls=True (--tls)" if url.scheme.lower() in ENCRYPTED else ""
    return f": it is a URL; write {written}{encrypted}"


def _version_of(address: str) -> int | None:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


def is_loopback(target: str) -> bool:
    """True if data for a target certainly stays on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(scheme)
    return all(_is_loopback_host(_host_of(address)) for address in target.split(","))


def _host_of(address: str) -> str:
    if address.startswith("["):  # [::1]:50051
        host, _, rest = address[1:].partition("]")
        return host if rest[:1] in ("", ":") else address  # to gRPC, [::1]example.org:1 is some other name
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def _is_loopback_host(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
