"""Random numbers by key instead of by turn: each is a hash of who it is for and which it is.

A generator per sample and part costs 15 microseconds, more than a GPU takes for the whole sample. Here the numbers of
a batch come from a few array operations, and a sample gets the same ones in whatever batch, on whatever device.

The mixing is the finalisers of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014) for the parameters, and of MurmurHash3 (A. Appleby, 32 bit) for the pixels, where integers of
64 bits hold every product.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Keys = npt.NDArray[np.uint64]
"""One number for each sample: a hash of seed, epoch and record id."""

Reals = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = 0xFFFFFFFF


def sample_keys(seed: int, epoch: int, record_ids: Sequence[str]) -> Keys:
    """Return a key for each record, (B,).

    Examples:
        >>> a, b, again = sample_keys(0, 3, ["a", "b", "a"])
        >>> bool(a != b), bool(a == again)
        (True, True)
    """
    start = hashlib.blake2b(repr((seed, epoch)).encode(), digest_size=8)
    digests = bytearray()
    for record_id in record_ids:
        state = start.copy()
        state.update(record_id.encode("utf-8", "surrogateescape"))
        digests += state.digest()
    return np.frombuffer(bytes(digests), np.uint64)


@functools.cache
def _salt(part: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little"))


def uniforms(keys: Keys, part: str, count: int) -> Reals:
    """Return `count` numbers in [0, 1) for each sample and this part, (B, count)."""
    turns = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    states = _mix(keys[:, None] ^ _salt(part)) + turns  # mixed first: keys that differ in one bit part ways
    return (_mix(states) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: Keys) -> Keys:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def between(share: Reals, low: float, high: float) -> Reals:
    """Stretch numbers in [0, 1) to `low` .. `high`."""
    return low + share * (high - low)


def whole_between(share: Reals, low: int, high: Reals | int) -> npt.NDArray[np.int64]:
    """Turn numbers in [0, 1) into whole ones from `low` to `high`, both included, all equally likely."""
    return np.asarray(low + np.floor(share * (np.asarray(high) - low + 1)), np.int64)


def normals(keys: Keys, part: str, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return standard normal numbers for each sample and pixel, float32 (B, 1, height, width), on `device`.

    Two hashes a pixel give a radius and an angle (G. E. P. Box, M. E. Muller, "A Note on the Generation of Random
    Normal Deviates", 1958). The integers are the same on every device, the numbers up to the last digits.
    """
    words = _mix(keys ^ _salt(part)).view(np.uint32).reshape(-1, 2).astype(np.int64)
    seeds = torch.from_numpy(words).to(device)
    pixels = 2 * torch.arange(height * width, device=device)
    first, second = (_hash(_hash((pixels + turn) ^ seeds[:, :1]) ^ seeds[:, 1:]) for turn in (0, 1))
    radius = torch.sqrt(-2.0 * torch.log((first.float() + 0.5) * 2.0**-32))
    angle = second.float() * (2.0 * math.pi * 2.0**-32)
    return (radius * torch.cos(angle)).view(-1, 1, height, width)


def _hash(word: torch.Tensor) -> torch.Tensor:
    """Mix whole numbers to 32 bits (the finaliser of MurmurHash3)."""
    word = word & _LOW
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & _LOW
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & _LOW
    return word ^ (word >> 16)
