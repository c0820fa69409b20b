"""Rows out of rows: what finished runs say of the same samples, averaged, from stored predictions alone.

An ensemble is a row with its own runs. Its one stage was never trained; it names the predictions, and has no
checkpoint. Members that are ensembles themselves are taken apart, so that `Run.members` are always trained runs.
"""

from ferbench.ensembles.ensemble import Ensemble, make_ensemble
from ferbench.ensembles.method import GREEDY_STEPS, Method
from ferbench.ensembles.on_select import mean_temperature

__all__ = ["GREEDY_STEPS", "Ensemble", "Method", "make_ensemble", "mean_temperature"]
