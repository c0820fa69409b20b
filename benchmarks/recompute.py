"""The board's numbers and its comparisons once more, outside ferbench: from `ferbench predictions ROW --csv` alone.

    python benchmarks/recompute.py [--by strategy] [--where KEY=VALUE …] [--store STORE]

Reads what the commands `leaderboard --json`, `predictions --csv` and `compare --json` print; computes accuracy, UAR and
macro-F1 with scikit-learn, intervals over seeds with SciPy, McNemar's test and Holm's correction with statsmodels. The
intervals of differences come from another method than ferbench's bootstrap: statsmodels' regression on a constant with
errors clustered by seed and by film at once (Cameron, Gelbach and Miller 2011), at ferbench's own degrees of freedom.
Both are printed side by side. Nothing is imported from ferbench.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", default="strategy")
    parser.add_argument("--where", action="append", default=[])
    parser.add_argument("--store")
    given = parser.parse_args()
    store = ["--store", given.store] if given.store else []
    filters = [word for text in given.where for word in ("--where", text)]
    boards = json.loads(ferbench("leaderboard", "--json", *filters, *store))["boards"]
    rows = {entry["row"]: entry for board in boards for entry in board["entries"]}
    answers = {row: pd.read_csv(io.StringIO(ferbench("predictions", row, "--csv", *store))) for row in rows}
    worst = max(row_lines(rows, answers))
    compared = json.loads(ferbench("compare", "--by", given.by, "--json", *filters, *store))["pairs"]
    worst_pair = max(pair_lines(compared, answers))
    print(f"\ngreatest difference of a score or an end over seeds: {worst:.2e}")
    print(f"greatest difference of a difference, as a fraction: {worst_pair:.2e}")
    if max(worst, worst_pair) > 1e-9:
        sys.exit("a number is not the one that ferbench gives")


def ferbench(*words: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "ferbench", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def row_lines(rows: dict[str, Any], answers: dict[str, pd.DataFrame]) -> Iterator[float]:
    """Prints every row's scores; yields how far each is from the board's."""
    metrics = {
        "accuracy": accuracy_score,
        "uar": lambda truth, said: recall_score(truth, said, average="macro", labels=sorted(set(truth))),
        "macro_f1": lambda truth, said: f1_score(truth, said, average="macro", labels=sorted(set(truth))),
    }
    print("row         metric     ferbench mean and interval     recomputed")
    for row, entry in rows.items():
        by_seed = [frame for _, frame in answers[row].groupby("seed")]
        for name, metric in metrics.items():
            values = np.array([metric(list(frame["label"]), list(frame["predicted"])) for frame in by_seed])
            told = entry[name]
            yield abs(values.mean() - told["mean"])
            if len(values) < 2:
                continue
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
            low, high = max(0.0, values.mean() - half), min(1.0, values.mean() + half)
            yield max(abs(low - told["low"]), abs(high - told["high"]))
            print(
                f"{row}  {name:<9}  {told['mean']:.6f} [{told['low']:.6f}, {told['high']:.6f}]  "
                f"{values.mean():.6f} [{low:.6f}, {high:.6f}]"
            )


def pair_lines(pairs: list[dict[str, Any]], answers: dict[str, pd.DataFrame]) -> Iterator[float]:
    """Prints every pair; yields how far its difference is from ferbench's, which no draw changes."""
    found = [recomputed(pair, answers) for pair in pairs]
    holm = multipletests([each["p"] for each in found], method="holm")[1]
    print("\npair: difference in points, 95 % interval, p by Holm")
    for pair, own, corrected in zip(pairs, found, holm, strict=True):
        print(f"{pair['a']} - {pair['b']}")
        for who, told in (("ferbench", pair), ("recomputed", own | {"holm_p": corrected})):
            ends = f"[{100 * told['low']:+.2f}, {100 * told['high']:+.2f}]"
            print(f"    {who:<11}{100 * told['difference']:+.3f} {ends} p {told['holm_p']:.4f}")
        if pair["mcnemar_p"] is not None:
            print(f"    McNemar's p: ferbench {pair['mcnemar_p']:.6f}, recomputed {own['mcnemar_p']:.6f}")
            yield abs(pair["mcnemar_p"] - own["mcnemar_p"])
        yield abs(pair["difference"] - own["difference"])


def recomputed(pair: dict[str, Any], answers: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The difference, its interval and p by two-way clustered errors."""
    seeds = pair["seeds"]
    tables = [[right_by_sample(answers[row], seeds) for row in side] for side in (pair["rows_a"], pair["rows_b"])]
    # Samples x seeds, blocks averaged.
    differences = sum(tables[0]) / len(tables[0]) - sum(tables[1]) / len(tables[1])
    film = pd.factorize(differences.index.get_level_values("group"))[0]
    long = pd.DataFrame({"difference": differences.to_numpy().ravel()})
    long["seed"] = np.tile(np.arange(len(seeds)), len(differences))
    long["film"] = np.repeat(film if pair["groups"] else np.arange(len(differences)), len(seeds))
    clusters = long[["seed", "film"]].to_numpy() if len(seeds) > 1 else long["film"].to_numpy()
    fit = sm.OLS(long["difference"], np.ones(len(long))).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True}
    )
    mean, error = float(fit.params.iloc[0]), float(fit.bse.iloc[0])
    half = stats.t.ppf(0.975, pair["degrees"]) * error
    p = 2 * stats.t.sf(abs(mean) / error, pair["degrees"])
    own = {"difference": mean, "low": mean - half, "high": mean + half, "p": float(p), "mcnemar_p": None}
    if pair["mcnemar_p"] is not None:
        votes = [majority(answers[side[0]], seeds) for side in (pair["rows_a"], pair["rows_b"])]
        table = [
            [(votes[0] & votes[1]).sum(), (votes[0] & ~votes[1]).sum()],
            [(~votes[0] & votes[1]).sum(), (~votes[0] & ~votes[1]).sum()],
        ]
        own["mcnemar_p"] = float(mcnemar(table, exact=True).pvalue)
    return own


def right_by_sample(frame: pd.DataFrame, seeds: list[int]) -> pd.DataFrame:
    """Samples x seeds: 1 where the answer is right."""
    frame = frame[frame["seed"].isin(seeds)].assign(right=lambda f: (f["label"] == f["predicted"]).astype(float))
    frame["group"] = frame["group"].fillna("")
    # An id is unique within its class alone.
    frame["sample"] = frame.groupby("seed").cumcount()
    return frame.pivot_table(index=["sample", "group"], columns="seed", values="right")[seeds]


def majority(frame: pd.DataFrame, seeds: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the seeds' most frequent answer is right; among equals the one of the highest mean probability."""
    classes = [name for name in frame.columns if name.startswith("p_")]
    parts = [frame[frame["seed"] == seed].reset_index(drop=True) for seed in seeds]
    votes = sum(
        (part["predicted"].to_numpy()[:, None] == [name[2:] for name in classes]).astype(float) for part in parts
    )
    mean = sum(part[classes].to_numpy() for part in parts) / len(parts)
    chosen = np.array(classes)[np.argmax(votes + 1e-3 * mean, axis=1)]
    truth: np.ndarray[Any, np.dtype[np.bool_]] = chosen == ("p_" + parts[0]["label"]).to_numpy()
    return truth


if __name__ == "__main__":
    main()
