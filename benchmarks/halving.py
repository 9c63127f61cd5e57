"""Successive halving against the full grid: the best grouped score it finds, and the epochs it spends.

Target: within half a point of the grid's best validation score with at most a tenth of its epochs. By default windows
of HAR, four subjects to train on and six others to judge by, and a small convolutional network: 64 points of 40 epochs
each, a quarter of an hour of one processor. The best of many is flattered by chance, so that the winners of both
studies are trained again and told by their score on the official test subjects, too, which no study sees. Any recipe
and space may be named instead; both studies are judged on the same validation part. Usage:

    python benchmarks/halving.py [--quick] [--folder FOLDER] [--seed 1]
    python benchmarks/halving.py --recipe neu data.root=NEU-DET/images data.image_size=32 model.name=resnet10t ...

A study that was interrupted goes on where its `--folder` is named again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from _data import real_file
from ringlight.runtime import configure_logging
from ringlight.services.runs import train
from ringlight.services.tune import tune

SPACE = (
    "{optimizer.lr:[0.0001,0.0005,0.002,0.01],optimizer.weight_decay:[0.0001,0.1],model.drop_rate:[0.0,0.4],"
    "model.filters:[[8,16],[16,32]],data.batch_size:[32,128]}"
)
"""64 points."""

HAR = (
    "model.name=cnn1d", "model.kernel_size=5", "scheduler=constant", "scheduler.warmup_epochs=0",
    "training.restore=best", "training.early_stopping_patience=null", "training.precision=32",
    "training.num_threads=1", "augmentation=none", "split=predefined", "split.leak_probe=false",
    "evaluation.num_resamples=100",
)  # fmt: skip
"""The recipe keeps the last weights, as its rate falls to nothing. A constant rate ends nowhere: a snapshot of its last
epoch moves by points from one epoch to the next, and the best of 64 of them is luck that no search finds again. The
epoch with the best score on the validation subjects counts, as in training by default.
"""

ALLOWED_LOSS, ALLOWED_SHARE = 0.005, 0.10


def windows_of(folder: Path, num_train: int, num_val: int, seed: int) -> Path:
    """Write windows of HAR's official training subjects as a file of their own; return it.

    The seed draws `num_train` subjects to train on and `num_val` others to judge by; the official test subjects stay
    the test part. Every second window: neighbours overlap by half, and tell a study little that is new.
    """
    path = folder / f"har-{num_train}-{num_val}-{seed}.npz"
    if not path.is_file():
        with np.load(real_file("har9.npz")) as har:
            data = {name: har[name] for name in har.files}
        subject, test = data["subject"], data.pop("is_official_test_subject")
        drawn = np.random.default_rng(seed).permutation(np.unique(subject[~test]))
        train, val = np.isin(subject, drawn[:num_train]), np.isin(subject, drawn[num_train : num_train + num_val])
        data["split"] = np.select([train, val], ["train", "val"], "test")
        kept = (train | val | test) & (np.arange(len(subject)) % 2 == 0)
        rows = {name: value[kept] for name, value in data.items() if value.ndim and len(value) == len(kept)}
        np.savez(path, **{**data, **rows})
    return path


def study(name: str, pruner: str, recipe: str, given: list[str], folder: Path) -> dict[str, Any]:
    """Run one study, train its winner again, and print what it cost and found."""
    started = time.perf_counter()
    found = tune(
        recipe,
        [*given, "tune.method=grid", "tune.n_trials=100000", f"tune.pruner={pruner}", f"experiment.name={name}"],
        workspace=folder,
    )
    seconds, told = time.perf_counter() - started, found.study
    results = train(None, file=found.recipe, workspace=folder).results
    tested = results["test"]["scalars"].get(told["metric"], float("nan"))
    print(
        f"{name:8s} best {told['metric']} {told['best']['value']:.4f}  on the test part {tested:.4f}  "
        f"epochs {told['epochs']:6d}  {told['states']['complete']:4d} finished  {told['states']['pruned']:4d} pruned  "
        f"{seconds / 60:.1f} minutes",
        flush=True,
    )
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=None, help="a recipe; its space is tune.space=...")
    parser.add_argument("--subjects", type=int, nargs=2, default=(4, 6), help="of HAR's: to train on, to judge by")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--factor", type=int, default=3, help="one trial in so many goes on; published: 3 or 4")
    parser.add_argument(
        "--quick", action="store_true", help="16 points of 16 epochs: shows that it works, proves nothing"
    )
    parser.add_argument("--folder", type=Path, default=None, help="where the studies are kept")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    asked = parser.parse_args()
    configure_logging()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="ringlight-halving-"))
    folder.mkdir(parents=True, exist_ok=True)
    epochs = 16 if asked.quick else asked.epochs
    given = [
        f"training.num_epochs={epochs}", f"tune.reduction_factor={asked.factor}", f"experiment.seed={asked.seed}"
    ]  # fmt: skip
    if asked.recipe is None:
        space = SPACE.replace("[8,16],[16,32]", "[8,16]").replace("[32,128]", "[128]") if asked.quick else SPACE
        root = windows_of(folder, *((2, 2) if asked.quick else asked.subjects), asked.seed)
        given = [f"data.root={root}", *HAR, *given, f"tune.space={space}"]
    given += asked.overrides
    recipe = asked.recipe or "windows"
    full = study("grid", "none", recipe, given, folder)
    halved = study("halving", "successive_halving", recipe, given, folder)
    share = halved["epochs"] / full["epochs"]
    lost = full["best"]["value"] - halved["best"]["value"]
    reached = "reached" if share <= ALLOWED_SHARE and lost <= ALLOWED_LOSS else "missed"
    print(f"halving spent {share:.1%} of the epochs and lost {100 * lost:.2f} points: target {reached} ({folder})")


if __name__ == "__main__":
    main()
