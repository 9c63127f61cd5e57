"""Leakage of a hydraulic pump: folds by run, and the harder question of a machine in another state.

1. Folds that keep a run together: target 99 % accuracy.
2. Leave one cooler level out (3, 20, 100 % efficiency): a random forest reaches 61.6, 98.6 and 94.2 %; the target is
   ten points more at 3 %. The settings for each left-out level are chosen without it: every candidate is trained on one
   of the two other levels and tested on the second, both ways, and the best mean is taken. Usage:

    python benchmarks/hydraulic_pump.py [--seeds 0 1 2] [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time

import numpy as np

import ringlight as rl
from _data import real_file
from ringlight.models import MODELS
from ringlight.models.window_features import window_features

FLOOR = {3: 0.616, 20: 0.986, 100: 0.942}
"""A random forest's accuracy on each left-out level, told with the data."""
RECIPE = ["model.feature_groups=[statistics]", "model.max_features=0.3", "cv.val_share=0"]
CANDIDATES = [
    {"model": model, "feature_groups": groups, "invariance": invariance, "max_features": share}
    for model, groups, invariance, share in itertools.product(
        ("extra_trees", "random_forest"),
        (["statistics"], ["statistics", "correlation"], ["spectrum", "welch", "autocorrelation", "correlation"]),
        ("none", "offset"),
        ("sqrt", 0.3),
    )
]
TREES = 60
"""Of a candidate, while it is chosen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="leave the choice of settings out")
    chosen = parser.parse_args()
    by_run(chosen.seeds)
    by_level(chosen.seeds)
    if not chosen.quick:
        choose(chosen.seeds[0])


def by_run(seeds: list[int]) -> None:
    """Cross-validate the documented settings in folds that keep runs whole."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as workspace:
            overrides = [f"data.root={real_file('hydraulic-1hz.npz')}", "cv.method=stratified_group_kfold", *RECIPE]
            found = rl.cross_validate(
                "windows_features", overrides=overrides, scoring="accuracy", seed=seed, workspace=workspace
            )
        print(
            f"folds by run, seed {seed}: {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}], target 0.99", flush=True
        )


def by_level(seeds: list[int]) -> None:
    """Leave each cooler level out, with the documented settings."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as workspace:
            overrides = [
                f"data.root={real_file('hydraulic-1hz.npz')}", "data.group_key=profile.cooler_pct",
                "cv.method=leave_one_group_out", *RECIPE,
            ]  # fmt: skip
            found = rl.cross_validate(
                "windows_features", overrides=overrides, scoring="accuracy", seed=seed, workspace=workspace
            )
        for fold in found.folds:
            (name,) = fold["test_groups"]
            told = f"{fold['scores']['accuracy']:.4f}, a forest's floor {FLOOR[int(name)]:.3f}"
            print(f"leave out cooler level {name:>3} %, seed {seed}: {told}", flush=True)


def choose(seed: int) -> None:
    """Choose settings for each left-out level on the two others, and print what they reach on it."""
    data = np.load(real_file("hydraulic-1hz.npz"))
    X, y, levels = data["X"], data["y"], data["profile"][:, 0]  # noqa: N806
    vectors = {
        (tuple(one["feature_groups"]), one["invariance"]): window_features(
            X, sampling_rate=float(data["fs_hz"]), groups=one["feature_groups"], invariance=one["invariance"]
        )[0]
        for one in CANDIDATES
    }
    print("\nsettings chosen without the level they are tested on (accuracy)")
    for level in FLOOR:
        others = [other for other in FLOOR if other != level]
        scored = []
        for one in CANDIDATES:
            features = vectors[tuple(one["feature_groups"]), one["invariance"]]
            inner = [
                score(one, features, y, levels == fit, levels == held, seed, TREES)
                for fit, held in itertools.permutations(others)
            ]
            scored.append((float(np.mean(inner)), one, features))
        best, one, features = max(scored, key=lambda found: found[0])
        outer = score(one, features, y, levels != level, levels == level, seed, 300)
        settings = ", ".join(f"{key}={value}" for key, value in one.items())
        print(f"level {level:3d} %: {settings}; inner {best:.4f}, left out {outer:.4f}", flush=True)


def score(one: dict, features, y, fit, held, seed: int, trees: int) -> float:
    """Return the accuracy of a candidate that is fitted to some rows on others."""
    model = MODELS.build(
        one["model"], num_classes=3, in_chans=17, seed=seed, n_estimators=trees, max_features=one["max_features"],
        feature_groups=one["feature_groups"], invariance=one["invariance"],
    )  # fmt: skip
    model.fit_features(features[fit], y[fit])
    return float((model.scores(features[held]).argmax(axis=1) == y[held]).mean())


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes")
