"""The command line: one file a command group. Importing it imports click and nothing heavier."""

from ferbench.cli.datasets import datasets
from ferbench.cli.doctor import doctor
from ferbench.cli.entry import root
from ferbench.cli.leaderboard import leaderboard
from ferbench.cli.plan import plan
from ferbench.cli.plugins import plugins
from ferbench.cli.predictions import predictions
from ferbench.cli.run import run

__all__ = ["main", "root"]

for _command in (run, plan, datasets, plugins, leaderboard, predictions, doctor):
    root.add_command(_command)


def main() -> None:
    """What the script `ferbench` calls; ends the process with the command's exit code."""
    root.main(prog_name="ferbench")
