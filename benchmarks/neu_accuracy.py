"""NEU steel surfaces, stratified 80/20: ResNet18 from random weights, and the packaged EfficientNet-Lite0 fine-tuned.

Both judge the last weights on a test part that nothing was chosen on. Targets: 97 % from random weights in about ten
minutes on two cores, 99 % from the packaged weights. Usage:

    python benchmarks/neu_accuracy.py [--seeds 0 1 2] [--only random|packaged]
"""

from __future__ import annotations

import argparse
import tempfile
import time

import ringlight as rl
from _data import real_data

VARIANTS = {
    "random": ("ResNet18, random weights", "neu", ["model.pretrained=false"], 0.97),
    "packaged": ("EfficientNet-Lite0, packaged weights", "neu_lite0", [], 0.99),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", choices=VARIANTS)
    chosen = parser.parse_args()
    images = real_data("neu-det") / "images"
    print(f"{'variant':40} seed  accuracy  macro-F1   target  minutes")
    for name, (title, recipe, overrides, target) in VARIANTS.items():
        for seed in chosen.seeds if chosen.only in (None, name) else []:
            with tempfile.TemporaryDirectory() as workspace:
                started = time.perf_counter()
                settings = [f"data.root={images}", f"experiment.seed={seed}", *overrides]
                scores = rl.train(recipe, settings, workspace=workspace).results["test"]["scalars"]
                minutes = (time.perf_counter() - started) / 60
            figures = f"{scores['accuracy']:9.4f} {scores['macro_f1']:9.4f} {target:8.2f} {minutes:8.1f}"
            print(f"{title:40} {seed:4d} {figures}", flush=True)


if __name__ == "__main__":
    main()
