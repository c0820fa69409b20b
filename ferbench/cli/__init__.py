"""The command line: one file a command group. Importing it imports click and nothing heavier."""

from ferbench.cli import (
    cache,
    compare,
    datasets,
    doctor,
    ensemble,
    export,
    leaderboard,
    merge,
    plan,
    plugins,
    predict,
    predictions,
    publish,
    run,
    snapshot,
    speed,
    verify,
)
from ferbench.cli.entry import root

__all__ = ["main", "root"]

for _command in (
    *(run.run, plan.plan, datasets.datasets, plugins.plugins, verify.verify),
    *(leaderboard.leaderboard, compare.compare, predictions.predictions, predict.predict, ensemble.ensemble),
    export.export,
    *(publish.publish, snapshot.snapshot, merge.merge, speed.speed, cache.cache, doctor.doctor),
):
    root.add_command(_command)


def main() -> None:
    """What the script `ferbench` calls; ends the process with the command's exit code."""
    root.main(prog_name="ferbench")
