"""The commands `vitrine score` and `vitrine replay`. They load what they need when they run."""

from vitrine.bulk.cli.replaying import replay
from vitrine.bulk.cli.scoring import score

__all__ = ["replay", "score"]
