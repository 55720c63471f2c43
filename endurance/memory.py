"""The memory that a server needs, as docs/operations.md says; a test compares the two."""

BASE_MIB, PENDING_SHARES = 200, 4
"""MiB of a worker without work, and the parts of its --max-pending-mb: three for answers, one for image files."""

USUAL_PENDING_MIB = 512
"""The usual --max-pending-mb."""


def documented_mib(pending_mib: int = USUAL_PENDING_MIB) -> int:
    """MiB that a worker needs for a --max-pending-mb."""
    return BASE_MIB + PENDING_SHARES * pending_mib
