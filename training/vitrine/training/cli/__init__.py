"""The command `vitrine-train`: it turns flags into settings, and results into text.

It knows no training: each command is a few lines around what `vitrine.training` offers.
"""

from vitrine.training.cli.artifacts import export_command, upgrade_command
from vitrine.training.cli.evaluate import evaluate_command
from vitrine.training.cli.fit import fit_command
from vitrine.training.cli.group import main
from vitrine.training.cli.runs import compare_command, list_command
from vitrine.training.cli.stress import stress_command

__all__ = ["main"]

COMMANDS = (
    fit_command,
    evaluate_command,
    list_command,
    compare_command,
    stress_command,
    export_command,
    upgrade_command,
)
for command in COMMANDS:
    main.add_command(command)
