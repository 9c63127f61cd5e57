"""The demo learns: test macro-F1 at the default difficulty for seeds 0, 1, 2. Target: at least 0.85 for each.

The seed draws other strips, another split, other weights. Budget: about three minutes a run on two cores. Usage:

    python benchmarks/demo_learns.py [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time

import ringlight as rl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    print("seed  macro-F1  " + "  ".join(f"F1 {name}" for name in ("1", "2", "3", "4")) + "  minutes")
    for seed in parser.parse_args().seeds:
        with tempfile.TemporaryDirectory() as workspace:
            started = time.perf_counter()
            run = rl.train("demo", [f"experiment.seed={seed}", f"data.seed={seed}"], workspace=workspace)
            minutes = (time.perf_counter() - started) / 60
        test = run.results["test"]
        classes = "  ".join(f"{scores['f1']:.2f}" for scores in test["per_class"].values())
        print(f"{seed:4d} {test['scalars']['macro_f1']:9.3f}  {classes} {minutes:8.1f}", flush=True)


if __name__ == "__main__":
    main()
