"""Network addresses: their notation, and which of them other machines can reach. It opens no socket."""

import ipaddress

from vitrine.server.errors import StartupError


def address_of(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """True when only this machine can reach a host. A name other than `localhost` may stand for any address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cannot_listen(host: str, port: int) -> StartupError:
    """The error for an address that can't be listened on."""
    return StartupError(
        f"can't listen on {address_of(host, port)}: the port is taken, or the address isn't this machine's; "
        "name others with --host and --port (VITRINE_HOST, VITRINE_PORT)"
    )
