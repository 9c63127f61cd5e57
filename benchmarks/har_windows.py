"""Nine-channel inertial windows (HAR): kinds of models on the official test subjects, and what random folds pretend.

Every model trains on the official training subjects, of which some are its validation part, and is judged once on the
test subjects. Targets: a classical recipe 94 % and a deep one 93 % accuracy in 15 minutes of one processor; features or
ROCKET train 5 times as fast as the network (feature time included; 20 times is the aim) and are as accurate. Then one
table compares the runs, with paired intervals over the subjects, and the classical model is cross-validated twice: in
random folds, which put windows of one subject on both sides, and by subject. The gap is subject leakage. Usage:

    python benchmarks/har_windows.py [--seeds 0 1] [--only cnn1d extra_trees]
"""

from __future__ import annotations

import argparse
import tempfile

import ringlight as rl
from _data import real_file

VARIANTS: dict[str, tuple[str, list[str], float]] = {
    "cnn1d": ("windows", [], 0.93),
    "extra_trees": ("windows_features", [], 0.94),
    "random_forest": ("windows_features", ["model=random_forest"], 0.94),
    "svm": ("windows_features", ["model=svm"], 0.94),
    "minirocket": ("windows_features", ["model=minirocket", "model.num_kernels=840"], 0.94),
}
"""Recipe, settings, target accuracy."""
LEAKY = ["cv.method=stratified_kfold", "split.groups=none", "split.allow_leak=true"]
GROUPED = ["cv.method=stratified_group_kfold"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    chosen = parser.parse_args()
    data = [f"data.root={real_file('har9.npz')}", "split=predefined_test", "split.leak_probe=false"]
    for seed in chosen.seeds:
        with tempfile.TemporaryDirectory() as workspace:
            print(f"seed {seed}\n{'model':14} accuracy  target  train seconds  times as fast as cnn1d")
            runs, slowest = [], None
            for name in chosen.only:
                recipe, settings, target = VARIANTS[name]
                run = rl.train(recipe, [*data, *settings, f"experiment.seed={seed}"], workspace=workspace)
                runs.append(run)
                seconds = run.results["timings"]["fit"]
                slowest = seconds if name == "cnn1d" else slowest
                ratio = "" if slowest is None else f"{slowest / seconds:.1f}"
                accuracy = run.results["test"]["scalars"]["accuracy"]
                print(f"{name:14} {accuracy:8.4f} {target:7.2f} {seconds:14.1f}  {ratio}", flush=True)
            if len(runs) > 1:
                print(rl.compare_results([found for run in runs for found in rl.load_results(run.folder)]))
            folds(workspace, seed)


def folds(workspace: str, seed: int) -> None:
    """Cross-validate the classical model by chance and by subject."""
    scores = {}
    for name, settings in (("random folds", LEAKY), ("folds by subject", GROUPED)):
        overrides = [f"data.root={real_file('har9.npz')}", "model=svm", "cv.val_share=0", *settings]
        found = rl.cross_validate(
            "windows_features", overrides=overrides, scoring="accuracy", seed=seed, workspace=workspace
        )
        scores[name] = found.mean
        print(f"svm, {name:17} {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]", flush=True)
    gap = 100 * (scores["random folds"] - scores["folds by subject"])
    print(f"subject leakage: {gap:.1f} points of a random split's score are windows of subjects it was trained on\n")


if __name__ == "__main__":
    main()
