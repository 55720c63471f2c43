"""Permissions, and the callers that have them. Plain data, no transport.

Tokens are known by their SHA-256 alone. A digest is enough to recognise a token, and useless to a thief.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from vitrine.server.errors import PermissionDenied, Unauthenticated


class Permission(Enum):
    """A kind of request that a caller may be allowed to make; none includes another."""

    PREDICT = "predict"
    """Classify images, and see which models there are."""
    ACTIVATIONS = "activations"
    """Get layers' activations with a classification."""
    PARAMETERS = "parameters"
    """Get the weights and biases that a model stores."""
    INTERVENTIONS = "interventions"
    """Change activations while a model classifies; other callers' answers stay as they are."""
    ATTRIBUTION = "attribution"
    """Get each pixel's share in a score, which tells much about the weights."""
    UNCAPTURED = "uncaptured"
    """Stay out of what the operator captures."""
    ADMIN = "admin"
    """Change what the server does."""

    __hash__ = object.__hash__  # Enum's own is written in Python, and each request looks several up


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of requests."""

    name: str
    """The name of its token, as the operator gave it."""
    permissions: frozenset[Permission]
    """The permissions that it has."""

    def require(self, *needed: Permission) -> None:
        """Does nothing when the caller has all of these permissions.

        Raises:
            PermissionDenied: it lacks one.
        """
        if self.permissions.issuperset(needed):
            return
        lacking = next(permission for permission in needed if permission not in self.permissions)
        raise PermissionDenied("PERMISSION_LACKING", self._refusal(lacking))

    def _refusal(self, permission: Permission) -> str:
        if self is ANYONE:
            return (
                f"this request needs a token with the permission {permission.value!r}, and this server has no tokens: "
                "its operator adds them with --tokens (VITRINE_TOKENS)"
            )
        advice = ": ask for none (activations=None in the SDK)" if permission is Permission.ACTIVATIONS else ""
        return f"the token {self.name!r} lacks the permission {permission.value!r}, which this request needs{advice}"


NOBODY = Caller("nobody", frozenset())
"""Placeholder caller before authentication."""

ANYONE = Caller("anyone", frozenset(Permission) - {Permission.UNCAPTURED, Permission.ADMIN})
"""Every caller of a server without tokens. To change it, or to stay out of its capture, takes a token, always."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is let in."""

    digest: bytes
    """Its SHA-256."""
    caller: Caller
    """The caller that has it."""


class Access:
    """Identifies callers.

    Args:
        tokens: gives the tokens that are let in just now; None: anyone is let in.
    """

    def __init__(self, tokens: Callable[[], Sequence[Token]] | None) -> None:
        self._tokens = tokens

    @property
    def takes_tokens(self) -> bool:
        """Callers need a token."""
        return self._tokens is not None

    def caller(self, authorization: Sequence[str]) -> Caller:
        """The caller that sent these `authorization` headers.

        Raises:
            Unauthenticated: there is no token, or none that is known.
        """
        if self._tokens is None:
            return ANYONE
        known = _find(_bearer(authorization), self._tokens())
        if known is None:
            message = "the token is unknown to this server: it is mistyped, or was withdrawn"
            raise Unauthenticated("TOKEN_UNKNOWN", message)
        return known.caller


EVERYONE = Access(None)
"""The access of a server without tokens."""


def _bearer(authorization: Sequence[str]) -> str:
    advice = "send the header `authorization: Bearer TOKEN`, once"
    if not authorization:
        raise Unauthenticated("TOKEN_MISSING", f"this server wants a token: {advice}")
    scheme, _, token = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer" or not token:
        raise Unauthenticated("TOKEN_MALFORMED", f"the authorization can't be read: {advice}")
    return token


def _find(token: str, known: Sequence[Token]) -> Token | None:
    """The entry of a token, in constant time: finding the first takes as long as finding none."""
    digest = hashlib.sha256(token.encode(errors="backslashreplace")).digest()
    found = [candidate for candidate in known if hmac.compare_digest(candidate.digest, digest)]
    return found[0] if found else None
