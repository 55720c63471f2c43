"""What classifies: the engine in this process, or servers."""

from vitrine.bulk.engines.engine import Engine, OpenEngine

__all__ = ["Engine", "OpenEngine"]
