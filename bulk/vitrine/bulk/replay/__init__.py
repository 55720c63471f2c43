"""Replays captured images with another model, and compares its answers with those that were captured."""

from vitrine.bulk.replay.captures import Captures, open_captures
from vitrine.bulk.replay.comparison import Change, Comparison
from vitrine.bulk.replay.run import ReplayJob, replay

__all__ = ["Captures", "Change", "Comparison", "ReplayJob", "open_captures", "replay"]
