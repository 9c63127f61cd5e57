"""Acoustic windows of a leaking gas pipe (GPLA-12): 5-fold accuracy of the recipe of features; target 95 %.

Twelve leaks, 57 windows each. The rows are sorted by class, and nothing tells recordings apart: the folds are random.
Usage:

    python benchmarks/gpla12.py [--repeats 2] [--settings model.max_features=0.3]
"""

from __future__ import annotations

import argparse
import tempfile

import ringlight as rl
from _data import real_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--settings", nargs="+", default=["model.max_features=0.3"])
    chosen = parser.parse_args()
    overrides = [
        f"data.root={real_file('gpla12.npz')}", "cv.method=stratified_kfold", "split.groups=none", "cv.val_share=0",
        f"cv.repeats={chosen.repeats}", *chosen.settings,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as workspace:
        found = rl.cross_validate("windows_features", overrides=overrides, scoring="accuracy", workspace=workspace)
    print(f"{chosen.repeats} x 5 folds: accuracy {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}], target 0.95")


if __name__ == "__main__":
    main()
