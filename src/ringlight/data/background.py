"""How alike pictures are that show different things, measured on the data itself: where the links have to start.

Two samples of pairs stand for the background:

* **decoys**: an image turned upside down or left to right is looked for among all others, exactly as the image itself
  is. It has the same texture, and what it finds is chance (the target-decoy search of Elias and Gygi, Nature Methods
  2007). A decoy that is less alike than the image itself is left out: a duplicate of a symmetric picture is no chance.
* **random pairs**: what all images share (the same fixture in every picture) shows in pairs drawn at random.

The tail of each is continued exponentially (the excesses over a high quantile, Pickands 1975 with shape 0) to the
similarity that fewer than `allowed` pairs of the whole data set are expected to reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringlight.data.aligned import aligned_similarities
from ringlight.data.candidates import Descriptors, nearest
from ringlight.data.fingerprints import Thumb

NUM_DECOYS = 500
NUM_RANDOM = 1000
TAIL = 40
"""Decoys that the tail is fitted on, the most alike ones."""
COPY = 0.8
"""A decoy this much alike is a mirrored copy, not chance."""


@dataclass(frozen=True, slots=True)
class Background:
    """The two tails: `count` pairs are expected above `start`, falling by a factor of e every `scale`."""

    decoys: tuple[float, float, float]
    random: tuple[float, float, float]

    def threshold(self, allowed: float) -> float:
        """Return the similarity that at most `allowed` pairs of different things are expected to reach."""
        return max(
            start + scale * max(0.0, float(np.log(count / allowed)))
            for start, scale, count in (self.decoys, self.random)
        )


def measure_background(
    thumbs: list[Thumb], descriptors: Descriptors, *, seed: int = 0, num_threads: int | None = None
) -> Background:
    """Measure the background of one scale; cost and memory do not grow with the square of N."""
    count = len(thumbs)
    rng = np.random.default_rng(seed)
    size = min(NUM_RANDOM, 10 * count)
    a, b = rng.integers(0, count, size), rng.integers(1, count, size)
    pairs = np.stack([a, (a + b) % count], axis=1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    random = aligned_similarities(thumbs, thumbs, pairs, num_threads=num_threads)
    low, high = np.quantile(random, [0.5, 0.9])
    rows = np.unique(np.linspace(0, count - 1, min(count, NUM_DECOYS)).astype(np.int64))
    found = _decoys(thumbs, descriptors, rows, num_threads)
    tail = decoy_tail(found, count / len(rows))
    # The upper half of random pairs falls by a factor of five from its median to its 90 % quantile.
    return Background(tail, (float(low), float((high - low) / np.log(5)), count * (count - 1) / 4))


def _decoys(
    thumbs: list[Thumb], descriptors: Descriptors, rows: npt.NDArray[np.int64], num_threads: int | None
) -> npt.NDArray[np.float32]:
    """Return the similarities that turned images reach, but for copies."""
    turned = list(thumbs)
    for place, row in enumerate(rows):
        turned[row] = np.ascontiguousarray(thumbs[row][::-1] if place % 2 else thumbs[row][:, ::-1])
    pairs = nearest(descriptors, [turned[row] for row in rows], rows, num_threads=num_threads)
    decoys = aligned_similarities(turned, thumbs, pairs, num_threads=num_threads)
    # Only the tail counts, so that the images themselves need to be compared in the most alike pairs alone.
    most = np.sort(np.argsort(-decoys, kind="stable")[: 10 * TAIL])
    direct = aligned_similarities(thumbs, thumbs, pairs[most], num_threads=num_threads)
    return decoys[most][(decoys[most] > direct) & (decoys[most] < COPY)]


def decoy_tail(found: npt.NDArray[np.floating], share: float) -> tuple[float, float, float]:
    """Return the exponential tail of what decoys found: its start, its scale, and how many pairs lie above its start.

    A pair is found from both of its sides, and decoys that lose against the image itself hide half of the chance: the
    two factors of two cancel.

    Args:
        found: the similarities.
        share: how many records there are per decoy.
    """
    top = np.sort(found)[::-1][: TAIL + 1]
    if len(top) < 2:
        return 0.0, 0.0, share
    start = float(top[-1])
    return start, float((top[:-1] - start).mean()), share * (len(top) - 1)
