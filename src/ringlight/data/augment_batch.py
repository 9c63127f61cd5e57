"""The catalogue's augmentations for whole batches, on whatever device the pictures are.

The same parts with the same parameters and the same chances as :class:`~ringlight.data.augment.Augmenter`, drawn from
(seed, epoch, record id, part) and nothing else, so that a sample looks the same in whatever batch. The draws are others
than the ones on the CPU: the two are alike statistically, not pixel by pixel. Turning, shifting and cutting share one
interpolation where the CPU interpolates after each, which leaves pictures a little sharper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ringlight.data import augment_ops as ops
from ringlight.data.augment_batch_parts import (
    CUT_OFF,
    FLIPS,
    PIXEL_PARTS,
    SUPPORTED,
    Rows,
    draw_warp,
    hit_rows,
    on_device,
)
from ringlight.data.augment_config import Parts, enabled_augmentations, heavy_augmentations
from ringlight.data.augment_draws import Keys, sample_keys
from ringlight.data.augmentations import AUGMENTATIONS
from ringlight.errors import ConfigError, DataError


class BatchAugmenter:
    """Applies an augmentation section to batches of pictures.

    Args:
        config: as for :class:`~ringlight.data.augment.Augmenter`; `per_class_factor` is the sampler's business.
        seed: together with epoch and record id it determines what happens to a sample.

    Raises:
        Problems: the section has mistakes; all of them, a line each.
        ConfigError: a part that is on works on single pictures only: see :meth:`supports`.
    """

    def __init__(self, config: Mapping[str, object], *, seed: int) -> None:
        self.plain = _built(enabled_augmentations(config))
        heavy = heavy_augmentations(config)
        self.heavy = None if heavy is None else _built(heavy)
        self.seed = seed

    @staticmethod
    def supports(config: Mapping[str, object]) -> bool:
        """Whether every part that is on works on batches.

        Parts that need boxes or masks (`defect_blackout`) do not, nor do those of third parties.

        Raises:
            Problems: the section has mistakes.

        Examples:
            >>> BatchAugmenter.supports({"rotation": True}), BatchAugmenter.supports({"defect_blackout": True})
            (True, False)
        """
        return all(name in SUPPORTED for name in (*enabled_augmentations(config), *(heavy_augmentations(config) or ())))

    def __call__(
        self,
        images: torch.Tensor,
        *,
        epoch: int,
        record_ids: Sequence[str],
        heavy: npt.NDArray[np.bool_] | torch.Tensor | Sequence[bool] | None = None,
    ) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: (B, H, W, C) with one or three channels, uint8, or floating-point from 0 to 1.
            epoch: it, the seed and the record ids determine the outcome.
            record_ids: of the samples, B.
            heavy: which samples (B,) go through the heavy pipeline, if the section has one.

        Returns:
            A tensor of the same shape, type and device; `images` is left alone.

        Raises:
            DataError: shapes or lengths that do not fit.
        """
        chosen = _as_array(heavy, len(images))
        _check_batch(images, record_ids, chosen)
        keys = sample_keys(self.seed, epoch, record_ids)
        if self.heavy is None or not chosen.any():
            return _augmented(images, self.plain, keys)
        if chosen.all():
            return _augmented(images, self.heavy, keys)
        result = torch.empty_like(images)
        for pipeline, rows in ((self.plain, np.flatnonzero(~chosen)), (self.heavy, np.flatnonzero(chosen))):
            places = on_device(rows, images.device)
            result[places] = _augmented(images[places], pipeline, keys[rows])
        return result


def _built(parts: Parts) -> dict[str, Any]:
    unsupported = [name for name in parts if name not in SUPPORTED]
    if unsupported:
        raise ConfigError(
            f"augmentations that work on batches ({', '.join(SUPPORTED)})",
            got=", ".join(unsupported),
            where="data.augment_on",
            fix="set data.augment_on=cpu",
        )
    return {name: AUGMENTATIONS.build(name, **given) for name, given in parts.items()}


def _as_array(heavy: npt.NDArray[np.bool_] | torch.Tensor | Sequence[bool] | None, count: int) -> npt.NDArray[np.bool_]:
    if heavy is None:
        return np.zeros(count, bool)
    return np.asarray(heavy.cpu() if isinstance(heavy, torch.Tensor) else heavy, bool)


def _check_batch(images: torch.Tensor, record_ids: Sequence[str], heavy: npt.NDArray[np.bool_]) -> None:
    fits = (
        images.ndim == 4 and images.shape[3] in (1, 3) and (images.dtype == torch.uint8 or images.is_floating_point())
    )
    if not fits:
        got = f"{tuple(images.shape)} {images.dtype}"
        raise DataError("uint8 or floats (B, H, W, 1 or 3)", got=got, where="images", fix="pass a raw batch")
    for where, values in (("record_ids", record_ids), ("heavy", heavy)):
        if len(values) != len(images):
            raise DataError(f"{len(images)} values", got=str(len(values)), where=where, fix="pass one a picture")


def _augmented(images: torch.Tensor, pipeline: Mapping[str, Any], keys: Keys) -> torch.Tensor:
    """Apply the parts in the catalogue's order: the flips in the pictures' own type, the rest in float32."""
    result = images.clone()
    for name, dim in FLIPS.items():
        if name in pipeline:
            _replace(result, hit_rows(pipeline[name], name, keys), functools.partial(torch.flip, dims=[dim]))
    height, width = images.shape[1:3]
    moved, moves = draw_warp(pipeline, keys, height, width)
    changed = {name: hit_rows(part, name, keys) for name, part in pipeline.items() if name in PIXEL_PARTS}
    if not len(moved) and not any(len(rows) for rows in changed.values()):
        return result
    whole = images.dtype == torch.uint8
    pixels = result.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    pixels = pixels if whole else pixels * 255
    warp = ops.Warp(*on_device(moves, images.device).unbind(1))
    _replace(pixels, moved, functools.partial(ops.warp, moves=warp))
    for name, rows in changed.items():
        change = functools.partial(PIXEL_PARTS[name], part=pipeline[name], keys=keys[rows])
        _replace(pixels, rows, change, cut_off=whole and name in CUT_OFF)
    final = pixels.permute(0, 2, 3, 1)
    final = final.round() if whole else final / 255
    return final.to(images.dtype).contiguous()


def _replace(
    images: torch.Tensor, rows: Rows, change: Callable[[torch.Tensor], torch.Tensor], *, cut_off: bool = False
) -> None:
    """Change some samples of a batch in place, and cut them off to whole levels."""
    if len(rows):
        places = on_device(rows, images.device)
        changed = change(images.index_select(0, places))
        images.index_copy_(0, places, changed.floor() if cut_off else changed)
