"""`vitrine-server`: flags and VITRINE_… variables → configs, and nothing else."""

from vitrine.server.cli.command import main

__all__ = ["main"]
