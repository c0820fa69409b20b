"""A support vector machine as a head: fitted on frozen features, calibrated, and folded into one linear layer.

One-vs-rest linear machines with squared hinge loss (LIBLINEAR, Fan et al. 2008, JMLR 9) on standardised features. A
sigmoid a class turns decisions into probabilities (Platt 1999; its optimum after Lin, Lin and Weng 2007, Machine
Learning 68). It is fitted on decisions about held-out folds; the machine that is kept is fitted on all samples. That
is scikit-learn's CalibratedClassifierCV(method="sigmoid", ensemble=False).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ferbench.errors import DatasetError, RecipeError, TrainingError

#: Folds for choosing the penalty and for the sigmoids. A machine on 28,709 samples takes 20 s: three, where samples
#: abound.
_FOLDS = 5
_FOLDS_OF_MANY = 3
_MANY_SAMPLES = 10_000

#: The penalty is chosen on no more samples than this, and on no more values, unless that were too few samples.
_CHOICE_VALUES = 3_000_000
_CHOICE_SAMPLES = 2_000

#: Powers of ten up to one over the number of features, which is a standardised sample's mean squared length. Beyond it
#: a machine on more features than samples learns them by heart, and takes minutes where these take seconds.
_EXPONENTS = (-2, -1, 0)

#: LIBLINEAR takes 5 to 30 where it converges.
_ITERATIONS = 1_000

#: A feature that varies by less than this part of its mean varies by the rounding of float32.
_ROUNDING = 1e-6
_SMALLEST_SCALE = 1e-30

#: The logarithm of what a class without training samples is given as probability.
_NEVER = -1e6


@dataclass(frozen=True, slots=True)
class SvmHead:
    """What `CalibratedLinear` is loaded with.

    Parameters
    ----------
    weight : float32 [C, d], for raw features
    bias : float32 [C]
    notes : what a row should say, such as "svm: calibrated on 3 folds, a class has 3 samples"
    c : the penalty that was chosen
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    notes: tuple[str, ...]
    c: float


class CalibratedLinear(nn.Linear):
    """Features float32 [n, d] to log sigmoid(linear) float32 [n, C].

    A softmax over that is each class's calibrated probability divided by their sum.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of nn.Linear
        return functional.logsigmoid(super().forward(input))


def put_svm_head(module: nn.Module, classifier: str, head: SvmHead | None = None) -> None:
    """Put a `CalibratedLinear` of the same width, device and precision in the place of a module's head.

    Parameters
    ----------
    classifier : dotted name of the head, one linear layer
    head : what was fitted; without it the weights are left open, for a state dict that is loaded next

    Raises
    ------
    RecipeError : a head that is not one linear layer
    """
    old = module.get_submodule(classifier)
    if not isinstance(old, nn.Linear):
        raise RecipeError(
            f"head_fit=svm needs a head that is one linear layer, and {classifier} is a {type(old).__name__}: take "
            "head_fit=sgd, or another backbone"
        )
    new = CalibratedLinear(old.in_features, old.out_features, device=old.weight.device, dtype=old.weight.dtype)
    if head is not None:
        new.load_state_dict({"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)})
    module.set_submodule(classifier, new.train(old.training))


def fit_svm_head(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: tuple[str, ...] | None,
    num_classes: int,
    *,
    balanced: bool,
    seed: int,
) -> SvmHead:
    """Fit a calibrated one-vs-rest machine.

    Parameters
    ----------
    features : float32 [n, d], finite
    labels : int64 [n] in 0..num_classes-1. A class without samples gets a probability of 0
    groups : subject or film of each sample; a group is never on both sides of a fold
    balanced : every class weighs the same, in the machine, in its sigmoids and in the choice of the penalty
    seed : of folds, of the samples that the penalty is chosen on, and of LIBLINEAR. Same input, same bits

    There are 5 folds, 3 beyond 10,000 samples, and fewer where a class has fewer samples (or is in fewer groups). The
    penalty is the power of ten, out of five around 1/d, with the best accuracy on held-out folds, the smallest of equal
    ones; it is chosen on all samples up to 3,000,000/d of them, or 2,000 if that is more, else on 3 folds of that many,
    drawn by class. A class with one sample (or in one group) is never held out: its probability is a small constant.

    Memory: about 30 bytes a feature value, 16 of them LIBLINEAR's own copy.

    Raises
    ------
    DatasetError : fewer than two classes have samples
    TrainingError : a feature is not finite
    ValueError : shapes or labels do not fit each other
    """
    _check(features, labels, groups, num_classes)
    present, codes = np.unique(labels, return_inverse=True)
    samples = _Samples(
        features,
        codes,
        np.arange(len(codes)) if groups is None else np.unique(np.array(groups), return_inverse=True)[1],
        len(codes) / (len(present) * np.bincount(codes)[codes]) if balanced else np.ones(len(codes)),
        grouped=groups is not None,
        most_folds=_FOLDS_OF_MANY if len(codes) > _MANY_SAMPLES else _FOLDS,
        seed=seed % 2**32,
    )
    penalties = _penalties(features)
    chosen_on = _part(samples, max(_CHOICE_SAMPLES, _CHOICE_VALUES // max(features.shape[1], 1)))
    trial = _held_out(chosen_on, penalties)
    best = _best(trial, chosen_on)
    penalty = penalties[best]
    held = trial.of(best) if chosen_on is samples else _held_out(samples, [penalty])
    machine = _machine(*_standardised(features), samples, slice(None), penalty)
    sigmoids = _sigmoids(held.decisions[0], samples)

    slopes, offsets = (np.ones(len(present)), np.zeros(len(present))) if sigmoids is None else sigmoids
    weight = np.zeros((num_classes, features.shape[1]), np.float32)
    bias = np.full(num_classes, _NEVER, np.float32)
    weight[present] = slopes[:, None] * machine.weight
    bias[present] = slopes * machine.bias + offsets
    notes = [
        *_notes_on_folds(samples, held.folds, calibrated=sigmoids is not None),
        *([] if chosen_on is samples else [f"svm: C chosen on {len(chosen_on.codes):,} of {len(codes):,} samples"]),
        *([] if machine.converged and held.converged[0] else [f"svm: not converged in {_ITERATIONS:,} iterations"]),
    ]
    return SvmHead(weight, bias, tuple(notes), penalty)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Training samples; `codes` counts the classes that have samples, `groups` is int64 [n], `weights` float64 [n]."""

    features: NDArray[np.float32]
    codes: NDArray[np.int64]
    groups: NDArray[np.int64]
    weights: NDArray[np.float64]
    grouped: bool
    most_folds: int
    seed: int

    def spread(self) -> NDArray[np.int64]:
        """How many groups each class is in, int64 [C]; without groups, how many samples it has."""
        pairs = np.unique(np.stack([self.codes, self.groups]), axis=1)
        return np.bincount(pairs[0])


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """What machines say of samples that they were not fitted on.

    decisions : float64 [penalties, n, C]; nan where the class was missing from the other folds
    converged : a penalty each
    """

    decisions: NDArray[np.float64]
    converged: tuple[bool, ...]
    folds: int

    def of(self, penalty: int) -> _HeldOut:
        return _HeldOut(self.decisions[penalty : penalty + 1], self.converged[penalty : penalty + 1], self.folds)


@dataclass(frozen=True, slots=True)
class _Machine:
    """Weight float64 [C, d] and bias float64 [C] for raw features."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    converged: bool


def _check(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: tuple[str, ...] | None, num_classes: int
) -> None:
    if features.ndim != 2 or len(features) != len(labels) or (groups is not None and len(groups) != len(labels)):
        raise ValueError(f"features {features.shape} need a label and a group a sample, not {labels.shape}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}")
    finite = np.isfinite(features)
    if not finite.all():
        sample, feature = np.argwhere(~finite)[0]
        value = features[sample, feature]
        raise TrainingError(
            f"feature {feature} of training sample {sample} is {value}: an svm head needs finite features; check the "
            "weights, or use --set precision=fp32"
        )
    if len(np.unique(labels)) < 2:
        raise DatasetError(
            f"an svm head has nothing to tell apart: its {len(labels)} training samples are of "
            f"{len(np.unique(labels))} class(es); add samples of another class"
        )


def _penalties(features: NDArray[np.float32]) -> list[float]:
    """Five powers of ten; constant features have no length."""
    varying = int((features != features[:1]).any(axis=0).sum())
    return [10.0 ** (exponent - round(math.log10(max(varying, 1)))) for exponent in _EXPONENTS]


def _part(samples: _Samples, count: int) -> _Samples:
    """At most about `count` samples, each class in its share; rare classes keep what the folds need."""
    if len(samples.codes) <= count:
        return samples
    generator = np.random.default_rng(samples.seed)
    kept = []
    for code, size in enumerate(np.bincount(samples.codes)):
        own = generator.permutation(np.flatnonzero(samples.codes == code))
        kept.append(own[: max(_FOLDS, round(count * size / len(samples.codes)))])
    rows = np.sort(np.concatenate(kept))
    return _Samples(
        samples.features[rows],
        samples.codes[rows],
        samples.groups[rows],
        samples.weights[rows],
        samples.grouped,
        _FOLDS_OF_MANY,
        samples.seed,
    )


def _folds(samples: _Samples) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and rows to hold out; none where fewer than two classes can be held out."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    spread = samples.spread()
    spread = spread[spread >= 2]
    if len(spread) < 2:
        return []
    kind = StratifiedGroupKFold if samples.grouped else StratifiedKFold
    splitter = kind(min(samples.most_folds, int(spread.min())), shuffle=True, random_state=samples.seed)
    with warnings.catch_warnings():
        # It says that a class has fewer samples than folds, which a note says.
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(samples.features, samples.codes, samples.groups))


def _held_out(samples: _Samples, penalties: Sequence[float]) -> _HeldOut:
    folds = _folds(samples)
    classes = int(samples.codes.max()) + 1
    decisions = np.full((len(penalties), len(samples.codes), classes), np.nan)
    converged = [True] * len(penalties)
    for fitted, held in folds:
        seen = np.unique(samples.codes[fitted])
        if len(seen) < 2:
            continue
        standard = _standardised(samples.features[fitted])
        raw = samples.features[held].astype(np.float64)
        for place, penalty in enumerate(penalties):
            machine = _machine(*standard, samples, fitted, penalty)
            decisions[place][np.ix_(held, seen)] = raw @ machine.weight.T + machine.bias
            converged[place] &= machine.converged
    return _HeldOut(decisions, tuple(converged), len(folds))


def _standardised(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Features with mean 0 and standard deviation 1, the mean and the scale."""
    values = features.astype(np.float64)
    mean = values.mean(axis=0)
    values -= mean
    scale = np.sqrt(np.einsum("ij,ij->j", values, values) / len(values))
    constant = scale <= np.maximum(_ROUNDING * np.abs(mean), _SMALLEST_SCALE)
    scale[constant] = 1.0
    values /= scale
    return values, mean, scale


def _machine(
    standardised: NDArray[np.float64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    samples: _Samples,
    rows: NDArray[np.int64] | slice,
    penalty: float,
) -> _Machine:
    """One machine a class in these rows, in the classes' order, for raw features."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    found = LinearSVC(C=penalty, dual="auto", max_iter=_ITERATIONS, random_state=samples.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(standardised, samples.codes[rows], samples.weights[rows])
    weight, bias = found.coef_, found.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    weight = weight / scale
    return _Machine(weight, bias - weight @ mean, bool(np.max(found.n_iter_) < _ITERATIONS))


def _best(held: _HeldOut, samples: _Samples) -> int:
    """The penalty with the best accuracy on held-out samples; without any, the one in the middle."""
    known = ~np.isnan(held.decisions[0]).all(axis=1)
    if not known.any():
        return len(held.decisions) // 2
    predicted = np.nan_to_num(held.decisions[:, known], nan=-np.inf).argmax(axis=2)
    return int(((predicted == samples.codes[known]) @ samples.weights[known]).argmax())


def _sigmoids(
    decisions: NDArray[np.float64], samples: _Samples
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Slopes and offsets float64 [C] of the classes' sigmoids; none where fewer than two classes were held out."""
    known = ~np.isnan(decisions)
    own = samples.codes[:, None] == np.arange(decisions.shape[1])
    if int((known & own).any(axis=0).sum()) < 2:
        return None
    # Weighted as the machine is: on the samples as they are, the sigmoids would take the balance away again.
    found = [
        _sigmoid(column[rows], positive[rows], samples.weights[rows])
        for column, rows, positive in zip(decisions.T, known.T, own.T, strict=True)
    ]
    slopes, offsets = np.array(found).T
    return slopes, offsets


def _sigmoid(
    decisions: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and offset of the most likely sigmoid under Platt's softened targets, by Newton's method.

    Without a positive sample the start is the optimum: slope 0, and 1 in n + 2 as probability.
    """
    above, below = float(weights[positive].sum()), float(weights[~positive].sum())
    target = np.where(positive, (above + 1) / (above + 2), 1 / (below + 2))
    unit = float(np.abs(decisions).max(initial=0.0)) or 1.0
    inputs = np.stack([decisions / unit, np.ones(len(decisions))])

    def loss(point: NDArray[np.float64]) -> float:
        argument = point @ inputs
        return float(weights @ (np.logaddexp(0, argument) - target * argument))

    point = np.array([0.0, math.log((above + 1) / (below + 1))])
    for _ in range(100):
        argument = point @ inputs
        probability = np.exp(-np.logaddexp(0, -argument))
        gradient = inputs @ (weights * (probability - target))
        curvature = (inputs * (weights * probability * (1 - probability))) @ inputs.T + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # The loss is convex, yet a full step from far away may overshoot.
        size, before = 1.0, loss(point)
        while size > 1e-10 and loss(point - size * step) > before - 1e-4 * size * float(gradient @ step):
            size /= 2
        if size <= 1e-10 or float(np.abs(step).max()) < 1e-10:
            break
        point = point - size * step
    return float(point[0]) / unit, float(point[1])


def _notes_on_folds(samples: _Samples, folds: int, *, calibrated: bool) -> list[str]:
    if not calibrated:
        return ["svm: not calibrated, fewer than two classes can be held out"]
    verb, what = ("is in", "group") if samples.grouped else ("has", "sample")
    notes = []
    if folds < samples.most_folds:
        notes.append(f"svm: calibrated on {folds} folds, a class {verb} {folds} {what}s")
    if (samples.spread() < 2).any():
        notes.append(f"svm: a class {verb} 1 {what}, its probability is a constant")
    return notes
