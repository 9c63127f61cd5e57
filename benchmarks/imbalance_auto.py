"""What `imbalance: auto` gives and costs, on frozen features: against plain cross-entropy and against the focal recipe.

Four sets: magnetic tiles with bursts kept together (5 folds, twice), NEU with one class in turn thinned to 1:21 and to
1:46 in training (the real and the first system's Severstal ratio; 60 test images of every class), and synthetic strips
with the labels of the real ones (multi-label, 70 : 30). Each run chooses on its training records alone. The focal
recipe is the first system's: focal loss, gamma 2, alpha from the class frequencies. Printed are the mean difference in
points with its 95 % interval (paired t over the runs), and how often `auto` left cross-entropy. Usage:

    python benchmarks/imbalance_auto.py [--runs 12]

Targets: never below cross-entropy by more than 0.5 points of macro-F1, at least 4 points of rare-class recall at 1:46,
never below the focal recipe.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from _data import burst_tiles, real_data
from ringlight.config.load import compose
from ringlight.config.schema import Config
from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.folds import make_folds
from ringlight.data.synthetic import SyntheticSource
from ringlight.evaluation.metrics import classification_metrics
from ringlight.losses import post_hoc_logit_adjustment
from ringlight.training.drawing import Seen, criterion_of
from ringlight.training.features import embedder, features_of
from ringlight.training.head_problem import Problem
from ringlight.training.heads_linear import LogisticHead
from ringlight.training.imbalance import METHODS, plain, with_method
from ringlight.training.imbalance_choice import choose_method
from ringlight.training.linear_fit import targets_tensor
from ringlight.types import Dataset, Prediction

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """One run: a data set with its features, rows to train on and to judge, and the class that was made rare."""

    data: Dataset
    features: npt.NDArray[np.float32]
    train: Rows
    test: Rows
    rare: str
    seed: int


def neu() -> Dataset:
    root = real_data("neu-det")
    return FolderSource(root, label_regex=r"^(.+)_\d+\.jpg$").load()


def tile_cases(data: Dataset, features: npt.NDArray[np.float32], runs: int) -> Iterator[Case]:
    rare = min(data.class_counts(), key=data.class_counts().__getitem__)
    for seed in range(-(-runs // 5)):
        for train, test in make_folds(data, num_folds=5, kind="group", seed=seed):
            yield Case(data, features, train, test, rare, seed)


def neu_cases(data: Dataset, features: npt.NDArray[np.float32], runs: int, ratio: int) -> Iterator[Case]:
    targets = data.targets()
    for seed in range(runs):
        rng, rare = np.random.default_rng(seed), seed % len(data.classes)
        train: list[int] = []
        test: list[int] = []
        for label in range(len(data.classes)):
            rows = rng.permutation(np.flatnonzero(targets == label))
            test += rows[:60].tolist()
            train += rows[60 : 60 + (round(240 / ratio) if label == rare else 240)].tolist()
        yield Case(data, features, np.array(train), np.array(test), data.classes[rare], seed)


def strip_cases(data: Dataset, features: npt.NDArray[np.float32], runs: int) -> Iterator[Case]:
    rare = min(data.class_counts(), key=data.class_counts().__getitem__)
    for seed in range(runs):
        rows = np.random.default_rng(seed).permutation(len(data))
        cut = round(0.7 * len(rows))
        yield Case(data, features, rows[:cut], rows[cut:], rare, seed)


def fitted(case: Case, config: Config) -> Prediction:
    """Fit the linear head a configuration describes and score the case's test records."""
    train, test = case.data.take(case.train), case.data.take(case.test)
    seen = Seen(tuple(train.class_counts().values()), len(train))
    problem = Problem(
        features=torch.as_tensor(case.features[case.train]),
        targets=targets_tensor(train.targets(), train.task),
        task=train.task,
        num_classes=len(train.classes),
        criterion=criterion_of(config, train.task, seen, reduction="none"),
        folds=make_folds(train, num_folds=3, kind="group", seed=case.seed),
    )
    logits = LogisticHead().fit(problem).scores(torch.as_tensor(case.features[case.test]))
    if METHODS[config.imbalance.method].after == "post_hoc":
        logits = logits + post_hoc_logit_adjustment(
            list(seen.class_counts), config.imbalance.tau, train.task, seen.num_records
        )
    return Prediction(test.ids, logits.numpy(), test.classes, test.task, test.targets())


def scores(case: Case, config: Config) -> tuple[float, float]:
    """Return macro-F1 and the rare class's recall."""
    found = fitted(case, config)
    metrics = classification_metrics(found.targets, found.probabilities, found.classes, found.task)
    return float(metrics.scalars["macro_f1"] or 0), float(metrics.per_class[case.rare]["recall"] or 0)


def difference(values: npt.NDArray[np.float64], base: npt.NDArray[np.float64]) -> str:
    gap = 100 * (values - base)
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
    return f"{gap.mean():+6.2f} [{gap.mean() - half:+6.2f}, {gap.mean() + half:+6.2f}]"


def judge(title: str, cases: list[Case]) -> None:
    sides: dict[str, list[tuple[float, float]]] = {"plain": [], "auto": [], "focal": []}
    chosen: Counter[str] = Counter()
    for case in cases:
        task = case.data.task
        base = plain(compose("frozen", [f"experiment.seed={case.seed}", "imbalance=none"]), task)
        train = case.data.take(case.train)
        choice = choose_method(base, train, case.features[case.train])
        chosen[choice.method if choice.tau is None else f"{choice.method} {choice.tau:g}"] += 1
        sides["plain"].append(scores(case, base))
        sides["auto"].append(scores(case, with_method(base, choice.method, task, choice.tau)))
        sides["focal"].append(scores(case, with_method(base, "focal", task)))
    arrays = {name: np.array(rows) for name, rows in sides.items()}
    left = len(cases) - chosen["none"]
    print(f"\n{title}: {len(cases)} runs; auto left cross-entropy {left} times ({dict(chosen)})")
    for number, metric in enumerate(("macro-F1", "rare-class recall")):
        means = ", ".join(f"{name} {100 * rows[:, number].mean():.2f}" for name, rows in arrays.items())
        print(f"  {metric:18} {means}")
        for other in ("plain", "focal"):
            print(f"  {'':18} auto - {other:6} {difference(arrays['auto'][:, number], arrays[other][:, number])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12)
    runs = parser.parse_args().runs
    network = embedder()
    print(f"{network.title}, linear head; differences in points with their 95 % intervals")
    with tempfile.TemporaryDirectory() as folder:
        strips = SyntheticSource(Path(folder), num_images=1200, height=128, width=400, frequencies="severstal").load()
        sets = {"tiles": burst_tiles(), "neu": neu(), "strips": strips}
        known = {name: (hash_contents(data), features_of(data, network)) for name, data in sets.items()}
    judge("magnetic tiles, bursts kept together", list(tile_cases(*known["tiles"], max(10, runs))))
    for ratio in (21, 46):
        judge(f"NEU, one class 1:{ratio}", list(neu_cases(*known["neu"], runs, ratio)))
    judge("synthetic strips, multi-label", list(strip_cases(*known["strips"], runs)))


if __name__ == "__main__":
    main()
