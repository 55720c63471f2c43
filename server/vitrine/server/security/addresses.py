"""Network addresses: their notation, and which of them other machines can reach or rename. It opens no socket."""

import ipaddress


def address_of(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_brackets(host: str) -> str:
    """A host without the brackets that an IPv6 address may be written in; [::1]:80 is no host, and stays."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def holds_a_port(host: str) -> bool:
    """True for HOST:PORT in place of a host; colons are in IPv6 addresses, too."""
    try:
        return ":" in host and not ipaddress.ip_address(without_brackets(host))
    except ValueError:
        return True


def is_loopback(host: str) -> bool:
    """True when only this machine can reach a host. A name other than `localhost` may stand for any address."""
    try:
        return host == "localhost" or ipaddress.ip_address(without_brackets(host)).is_loopback
    except ValueError:
        return False


def is_fixed(authority: str) -> bool:
    """True for a HOST or HOST:PORT that no name server decides: an address, `localhost`, or a name below it."""
    bracketed, _, rest = authority.removeprefix("[").partition("]")
    host = bracketed if authority.startswith("[") and rest[:1] in ("", ":") else authority.partition(":")[0]
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
