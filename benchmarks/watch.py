"""How soon a watch finds a change, and how often it cries wolf, on real scores of NEU steel surfaces.

The model is logistic regression on frozen EfficientNet-Lite0 features: 900 training images, a reference of 360, and 540
others from which streams are drawn at random. Each stream is unchanged for 500 records before the change, and its delay
is counted from there to the first alarm of any quantity. Changes: brightness (of 255 gray levels), blur (Gaussian), and
a class that the model has never seen, as a share of the stream (the class is held out of training and reference). Then
unchanged streams of 20,000 records: the alarms each raised, with the records in random order and in runs of ten of one
class. Last, what a record costs. Target: brightness by 60 and the unseen class found within 200 records by at least
95 % of the streams, and at most one alarm in an unchanged stream. Usage:

    python benchmarks/watch.py [--streams 20] [--long 5] [--length 20000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from _data import real_data
from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.preprocess import InputSpec, Pixels, prepare, read_image
from ringlight.evaluation.open_set import SCORES, class_means, fix_open_set, strangeness
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider, Result
from ringlight.inference.watch_reference import WatchReference, measure
from ringlight.inference.watching import Watch
from ringlight.runtime import LOGGER
from ringlight.training.features import embedder, features_of
from ringlight.types import Dataset

SPEC = InputSpec(in_chans=1, image_size=96, mean=(0.5,), std=(0.25,))
"""What the input statistics are taken of."""
BATCH = 20
UNCHANGED = 500
"""Records before a change."""
LATEST = 2000
"""Records after a change; what is not found by then is not found."""
NUM_CHANGED = 150
"""Images that are drawn from where each must be changed and embedded again."""

Change = Callable[[Pixels], Pixels]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Records as the watch sees them: features (N, D) and inputs (N, 1, H, W)."""

    features: npt.NDArray[np.float32]
    inputs: npt.NDArray[np.float32]

    def take(self, rows: Rows) -> Pool:
        """Return some of the records."""
        return Pool(self.features[rows], self.inputs[rows])


class Line:
    """A model on frozen features, its rules and its reference, for the classes it knows."""

    def __init__(self, pool: Pool, labels: Rows, classes: Sequence[str], train: Rows, held: Rows) -> None:
        self.classes = tuple(classes)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        self.model = model.fit(pool.features[train], labels[train])
        means = class_means(pool.features[train], labels[train], self.classes)
        scores = strangeness(SCORES["both"], self._logits(pool.take(held)), pool.features[held], means)
        rule = fix_open_set(scores, 0.95, means=means)
        bundle = Bundle(
            architecture={}, task="multiclass", classes=self.classes, input_spec=SPEC, open_set=rule.to_dict()
        )
        self.decider = Decider(bundle)
        reference = WatchReference.of([(measure(self.decide(pool.take(held)), pool.inputs[held]), None)])
        if reference is None:
            raise SystemExit("expected 50 reference images or more, got fewer; pass all of NEU")
        self.bundle = replace(bundle, watch=reference.to_dict())

    def _logits(self, pool: Pool) -> npt.NDArray[np.float32]:
        return np.asarray(self.model.decision_function(pool.features), np.float32)

    def decide(self, pool: Pool) -> Result:
        """Return the decisions on every record."""
        ids = [str(row) for row in range(len(pool.features))]
        return self.decider.decide(ids, self._logits(pool), pool.features)

    def watch(self) -> Watch:
        """Return a new watch."""
        return Watch.of_bundle(self.bundle)


def feed(line: Line, watch: Watch, pool: Pool, rows: Rows, stop: bool) -> tuple[int, str] | None:
    """Let a stream pass; return after how many records the first alarm was raised, and which, if it may stop there."""
    for start in range(0, len(rows), BATCH):
        some = pool.take(rows[start : start + BATCH])
        watch.observe(line.decide(some), some.inputs)
        if stop and (alarms := watch.alarms):
            return start + len(some.inputs), alarms[0].quantity
    return None


def delays(line: Line, known: Pool, changed: Pool, share: float, streams: int) -> None:
    """Print the delays of one change, which `share` of the records have once it has begun."""
    found: list[float] = []
    first: Counter[str] = Counter()
    both = Pool(
        *(np.concatenate(pair) for pair in ((known.features, changed.features), (known.inputs, changed.inputs)))
    )
    for seed in range(streams):
        rng, watch = np.random.default_rng(seed), line.watch()
        feed(line, watch, known, rng.integers(0, len(known.features), UNCHANGED), stop=False)
        old = rng.integers(0, len(known.features), LATEST)
        new = len(known.features) + rng.integers(0, len(changed.features), LATEST)
        alarm = feed(line, watch, both, np.where(rng.random(LATEST) < share, new, old), stop=True)
        found.append(np.inf if alarm is None else alarm[0])
        first[alarm[1] if alarm else "none"] += 1
    told = [
        f"{value:.0f}" if np.isfinite(value) else f"> {LATEST}"
        for value in np.quantile(found, (0.5, 0.95), method="higher")
    ]
    print(
        f"  median {told[0]:>6}   95 % {told[1]:>6}   first: {', '.join(f'{n} {k}' for n, k in first.most_common(3))}"
    )


def brighter(levels: float) -> Change:
    return lambda image: np.clip(image.astype(np.float32) + levels, 0, 255).astype(np.uint8)


def blurred(sigma: float) -> Change:
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def pool_of(paths: Sequence[str], change: Change | None, features: npt.NDArray[np.float32] | None = None) -> Pool:
    images = [read_image(path, in_chans=3) for path in paths]
    if change is not None:
        images = [change(image) for image in images]
    inputs = np.stack([prepare(image, SPEC).numpy() for image in images])
    return Pool(embedder().embed(images) if features is None else features, inputs)


def load() -> tuple[Dataset, npt.NDArray[np.float32]]:
    cache = Path(tempfile.gettempdir()) / "ringlight-benchmark-features"
    data = hash_contents(FolderSource(real_data("neu-det") / "images", label_regex=r"^(.+)_\d+").load())
    return data, features_of(data, embedder(), cache=cache)


def unchanged(line: Line, pool: Pool, labels: Rows, length: int, streams: int, run: int) -> None:
    """Print how many alarms unchanged streams raise; records come in runs of `run` of one class."""
    counts = []
    for seed in range(streams):
        rng, watch = np.random.default_rng(1000 + seed), line.watch()
        kinds = np.repeat(rng.integers(0, labels.max() + 1, length // run + 1), run)[:length]
        rows = np.empty(length, np.int64)
        for kind in range(labels.max() + 1):
            rows[kinds == kind] = rng.choice(np.flatnonzero(labels == kind), int((kinds == kind).sum()))
        feed(line, watch, pool, rows, stop=False)
        counts.append(len(watch.alarms))
    print(f"unchanged, {length} records in runs of {run}: alarms {counts}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--streams", type=int, default=20)
    options.add_argument("--long", type=int, default=5)
    options.add_argument("--length", type=int, default=20_000)
    asked = options.parse_args()
    LOGGER.setLevel("ERROR")  # every alarm would be a line
    data, features = load()
    labels, uris = np.asarray(data.targets(), np.int64), [str(uri) for uri in data.uris]
    pool = pool_of(uris, None, features)
    order = np.random.default_rng(0).permutation(len(labels))
    train, held, rest = order[:900], order[900:1260], order[1260:]
    line, known = Line(pool, labels, data.classes, train, held), pool.take(rest)
    right = line.decide(known).decisions.argmax(axis=1) == labels[rest]
    print(f"{len(labels)} images; accuracy {right.mean():.3f}; {len(line.watch().status().quantities)} quantities")
    some = [uris[row] for row in rest[:NUM_CHANGED]]
    changes: list[tuple[str, Change]] = [(f"brightness {-level:+d}", brighter(-level)) for level in (20, 40, 60, 80)]
    changes += [(f"blur, sigma {sigma:g} px", blurred(sigma)) for sigma in (0.7, 1.0, 2.0)]
    for name, change in changes:
        print(name, end="", flush=True)
        delays(line, known, pool_of(some, change), 1.0, asked.streams)
    for number in (0, 5):
        kept = [row for row in range(len(labels)) if labels[row] != number]
        renumbered = labels - (labels > number)
        parts = [np.array([row for row in part if row in set(kept)]) for part in (train, held, rest)]
        classes = [name for name in data.classes if name != data.classes[number]]
        partial = Line(pool, renumbered, classes, parts[0], parts[1])
        strangers = pool.take(np.flatnonzero(labels == number))
        for share in (0.1, 0.25, 0.5, 1.0):
            print(f"{data.classes[number]}, unseen, {share:.0%} of the stream", end="", flush=True)
            delays(partial, pool.take(parts[2]), strangers, share, asked.streams)
    for run in (1, 10):
        unchanged(line, known, labels[rest], asked.length, asked.long, run)
    watch, result = line.watch(), line.decide(known)
    started = time.perf_counter()
    watch.observe(result, known.inputs)
    print(f"a record costs {1e3 * (time.perf_counter() - started) / len(rest):.3f} ms ({SPEC.size} px, one thread)")


if __name__ == "__main__":
    main()
