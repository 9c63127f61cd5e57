"""The promise of the watch on real pictures: a darker lamp and an unseen defect within 200, an unchanged line quiet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ringlight.data.folder import FolderSource
from ringlight.data.preprocess import InputSpec, prepare, read_image
from ringlight.evaluation.open_set import class_means, fix_open_set, strangeness
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider, Result
from ringlight.inference.watch_reference import WatchReference, measure
from ringlight.inference.watching import Watch
from ringlight.training.features import plain_embedder

UNSEEN = "patches"
SPEC = InputSpec(in_chans=1, image_size=64)
STREAM = 200


class Pictures:
    """Pictures as a model on plain pixel features sees them, and their inputs; `darker` by so many gray levels."""

    def __init__(self, uris: list[str], darker: int = 0) -> None:
        images = [np.maximum(read_image(uri, in_chans=1).astype(int) - darker, 0).astype(np.uint8) for uri in uris]
        self.features = plain_embedder().embed(images)
        self.inputs = np.stack([prepare(image, SPEC).numpy() for image in images])


@pytest.mark.slow
def test_changes_of_real_pictures_are_found_within_200_and_20000_unchanged_ones_are_quiet(real_data: Any) -> None:
    data = FolderSource(real_data("neu-det") / "images", label_regex=r"^(.+)_\d+\.jpg$").load()
    labels, rng = np.asarray(data.targets()), np.random.default_rng(0)
    known = [name for name in data.classes if name != UNSEEN]
    order = {name: rng.permutation(np.flatnonzero(labels == data.classes.index(name))) for name in data.classes}

    def of(first: int, last: int, names: list[str], darker: int = 0) -> tuple[Pictures, np.ndarray]:
        rows = [row for name in names for row in order[name][first:last]]
        kinds = np.repeat(np.arange(len(names)), last - first)
        return Pictures([str(data.uris[row]) for row in rows], darker), kinds

    train, kinds = of(0, 30, known)
    held, _ = of(30, 90, known)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(train.features, kinds)
    means = class_means(train.features, kinds, tuple(known))

    def logits(features: Any) -> Any:
        return model.decision_function(features).astype(np.float32)

    rule = fix_open_set(
        strangeness(("energy", "distance"), logits(held.features), held.features, means), 0.95, means=means
    )
    bundle = Bundle(architecture={}, task="multiclass", classes=tuple(known), input_spec=SPEC, open_set=rule.to_dict())
    decider = Decider(bundle)

    def decided(pictures: Pictures, rows: Any) -> Result:
        return decider.decide([f"{row}" for row in rows], logits(pictures.features[rows]), pictures.features[rows])

    reference = WatchReference.of([(measure(decided(held, np.arange(300)), held.inputs), None)])
    assert reference is not None
    bundle = replace(bundle, watch=reference.to_dict())

    def feed(watch: Watch, pictures: Pictures, count: int, batch: int) -> None:
        for _ in range(count // batch):
            rows = rng.integers(0, len(pictures.features), batch)
            watch.observe(decided(pictures, rows), pictures.inputs[rows])

    fresh, _ = of(90, 140, known)
    changes = {"darker": of(140, 155, known, darker=60)[0], "unseen": of(0, 60, [UNSEEN])[0]}
    for name, changed in changes.items():
        watch = Watch.of_bundle(bundle)
        feed(watch, fresh, 600, 100)
        assert not watch.alarms
        feed(watch, changed, STREAM, 10)
        assert watch.alarms, name
    watch = Watch.of_bundle(bundle)
    feed(watch, fresh, 20_000, 500)
    assert len(watch.alarms) <= 1
