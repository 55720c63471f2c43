"""The `vitrine` command: classify images, inspect models, ask for a server's health.

It knows flags and exit statuses: 0 for success, 1 for an error with one sentence on standard error, 2 for wrong usage.
"""

from vitrine.client.cli.command import main

__all__ = ["main"]
