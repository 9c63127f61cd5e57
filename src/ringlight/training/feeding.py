"""How records reach the model: loaders for training, validation and prediction, and what is done on the device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.schema import Config
from ringlight.data.augment_base import SectionAugmenter
from ringlight.data.cache import PixelCache, open_cache
from ringlight.data.cache_build import Progress
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec, read_image
from ringlight.data.resident import ResidentLoader, resident_loader
from ringlight.data.sampling import EpochSampler
from ringlight.runtime import LOGGER, DeviceChoice
from ringlight.training.device_input import DeviceInput
from ringlight.types import Dataset

if TYPE_CHECKING:
    from ringlight.data.specs import Spec
    from ringlight.training.plan import Plan

JUDGED_BATCH = 8
"""Images that go through a model together when nothing says how many did in its training."""


def leaves_one_out(total: int, batch_size: int) -> bool:
    """Say whether an epoch's last batch would be a single record, which batch normalisation cannot learn from."""
    return batch_size > 1 and total % batch_size == 1 and total > 1


def num_batches(total: int, batch_size: int) -> int:
    """Return how many batches an epoch of so many records trains with.

    Examples:
        >>> [num_batches(total, 4) for total in (1, 8, 9, 10)]
        [1, 2, 2, 3]
    """
    return -(-total // batch_size) - leaves_one_out(total, batch_size)


class Feeder:
    """Makes the loaders of one model.

    Args:
        spec: the model's input.
        device: where it runs.
        config: resolved; None for a model that was loaded, which only predicts.
        batch_size: records in a batch; None takes the configuration's.
        augmenter: for training.
    """

    def __init__(
        self,
        spec: Spec,
        device: DeviceChoice,
        *,
        config: Config | None = None,
        batch_size: int | None = None,
        augmenter: SectionAugmenter | None = None,
    ) -> None:
        self.spec = spec
        self.device = device
        self.config = config
        self.augmenter = augmenter
        configured = JUDGED_BATCH if config is None else int(config.data.batch_size)
        self.batch_size = configured if batch_size is None else batch_size
        self._pixels: PixelCache | None = None
        self._resident: ResidentLoader | None = None

    @property
    def seed(self) -> int:
        """The seed of the order, where no sampler knows it."""
        return 0 if self.config is None else self.config.experiment.seed

    @property
    def augments_on_device(self) -> bool:
        """Whether training batches are augmented on the device, all pictures at once."""
        return self.augmenter is not None and self.config is not None and self.config.data.augment_on == "device"

    @property
    def keeps_on_device(self) -> bool:
        """Whether the training pictures shall all lie on the device."""
        return self.config is not None and self.config.data.keep_on_device is True

    @property
    def raw(self) -> bool:
        """Whether batches travel as bytes, a quarter of the way to a GPU, and become input there."""
        if self.is_windows:
            return False
        return self.device.kind == "cuda" or self.augments_on_device or self.keeps_on_device

    @property
    def is_windows(self) -> bool:
        """Whether records are windows of a signal, which lie in memory-mapped files and need no decoding."""
        return not isinstance(self.spec, InputSpec)

    def open_cache(self, plan: Plan, progress: Progress | None = None) -> None:
        """Decode the images of the plan's whole data set once, where that was chosen.

        `progress` is told (done, total) meanwhile; what it raises stops it.
        """
        data = plan.config.data
        if data.cache == "disk" and isinstance(self.spec, InputSpec):
            folder = plan.cache / "pixels"
            self._pixels = open_cache(
                plan.dataset, self.spec, folder, budget_gib=data.cache_budget_gib, progress=progress
            )

    def train_loader(self, train: Dataset, sampler: EpochSampler | None) -> Any:
        """Return the loader of the training records; without a sampler they are shuffled."""
        total = len(train) if sampler is None else len(sampler)
        alone = leaves_one_out(total, self.batch_size)
        if alone:
            one = "image" if isinstance(self.spec, InputSpec) else "window"
            LOGGER.info("every epoch leaves one %s out, each another: alone in the last batch it teaches nothing", one)
        if self.keeps_on_device:
            self.release()
            self._resident = self._resident_loader(train, sampler, drop_last=alone)
            if self._resident is not None:
                return self._resident
        augmenter = None if self.augments_on_device else self.augmenter
        return self._loader(train, shuffle=True, sampler=sampler, drop_last=alone, augmenter=augmenter, raw=self.raw)

    def _resident_loader(
        self, train: Dataset, sampler: EpochSampler | None, *, drop_last: bool
    ) -> ResidentLoader | None:
        """Return the loader of pictures that lie on the device; None, and a line why, where they cannot."""
        from ringlight.training.memory import free_bytes

        cache = self._cache_of(train)
        reason = ""
        if not isinstance(self.spec, InputSpec):
            return None
        if cache is None:
            reason = "it needs the cache of decoded pictures (data.cache=disk)"
        elif self.augmenter is not None and not self.augments_on_device:
            reason = "pictures that the CPU augments come from there (data.augment_on=device augments them in place)"
        if cache is None or reason:
            LOGGER.warning("data.keep_on_device: %s; batches go to the device one by one", reason)
            return None
        return resident_loader(
            train,
            self.spec,
            cache,
            device=self.device.device,
            free=free_bytes(self.device),
            batch_size=self.batch_size,
            seed=self.seed,
            shuffle=True,
            sampler=sampler,
            drop_last=drop_last,
        )

    def release(self) -> None:
        """Give back the device's memory that training pictures took."""
        if self._resident is not None:
            self._resident.release()
            self._resident = None

    def val_loader(self, val: Dataset) -> Any:
        """Return the loader of the validation records, in order."""
        return self._loader(val, raw=self.raw)

    def loader(self, data: Dataset) -> Any:
        """Return a loader of the model's input, in order."""
        return self._loader(data)

    def _loader(self, data: Dataset, **chosen: Any) -> Any:
        workers, ahead = 0, None
        if self.config is not None:
            settings = self.config.data
            workers = int(settings.num_workers) if settings.num_workers != "auto" else 0
            ahead = None if settings.prefetch_factor == "auto" else int(settings.prefetch_factor)
        if not isinstance(self.spec, InputSpec):
            from ringlight.data.window_loader import make_window_loader

            chosen.pop("raw", None)
            return make_window_loader(
                data, self.spec, batch_size=self.batch_size, seed=self.seed, num_workers=workers,
                pin_memory=self.device.kind == "cuda", **chosen,
            )  # fmt: skip
        return make_loader(
            data,
            self.spec,
            batch_size=self.batch_size,
            seed=self.seed,
            num_workers=workers,
            pin_memory=self.device.kind == "cuda",
            cache=self._cache_of(data),
            prefetch_factor=ahead,
            **chosen,
        )

    def _cache_of(self, data: Dataset) -> PixelCache | None:
        return self._pixels if self._pixels is not None and self._pixels.holds(data) else None

    def device_input(self, train: Dataset) -> DeviceInput | None:
        """Return what makes input of bytes on the device; None where the loader does so."""
        if not self.raw or self.config is None or not isinstance(self.spec, InputSpec):
            return None
        if not self.augments_on_device or self.augmenter is None:
            return DeviceInput(self.spec)
        from ringlight.data.augment_batch import BatchAugmenter

        return DeviceInput(
            self.spec,
            record_ids=train.ids,
            augmenter=BatchAugmenter(self.config.augmentation, seed=self.seed),
            heavy_rows=self.augmenter.heavy_rows(train).tolist(),
        )

    def size_of(self, data: Dataset) -> tuple[int, ...]:
        """Return the height and width the model will see: the configured ones, else those of the first image.

        Of windows it is their length.
        """
        if not isinstance(self.spec, InputSpec):
            return (self.spec.length,)
        if self.spec.size is not None:
            return self.spec.size
        height, width = read_image(Path(str(data.uris[0])), in_chans=self.spec.in_chans).shape[:2]
        return height, width
