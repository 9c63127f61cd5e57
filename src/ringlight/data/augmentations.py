"""The catalogue of augmentations: of images, of windows of a signal, of whole batches; plain parameters, checked here.

`takes` of a part says which of the three it is for; one without takes images. Those become albumentations transforms on
demand: a part receives the albumentations module when it is asked for its transform, so that checking a configuration
does not import it (it takes two seconds) and `data/augment.py` stays the one file that does.
"""

from __future__ import annotations

from ringlight.data.augmentations_base import Augmentation, BatchAugmentation, SignalAugmentation
from ringlight.data.augmentations_cover import CoarseDropout, DefectBlackout
from ringlight.data.augmentations_geometry import HorizontalFlip, RandomCrop, Rotation, ShiftScale, VerticalFlip
from ringlight.data.augmentations_mix import MixupPart
from ringlight.data.augmentations_pixels import BrightnessContrast, ColorJitter, GaussianBlur, GaussianNoise
from ringlight.data.signal_parts_cover import ChannelDropout, CutOut, FrequencyMask, Jitter
from ringlight.data.signal_parts_shape import MagnitudeWarp, Scaling, TimeShift, TimeWarp
from ringlight.registry import Catalogue

AUGMENTATIONS: Catalogue[Augmentation | SignalAugmentation | BatchAugmentation] = Catalogue(
    "augmentation",
    {
        "defect_blackout": DefectBlackout,  # first: the boxes are still those of the record
        "horizontal_flip": HorizontalFlip,
        "vertical_flip": VerticalFlip,
        "rotation": Rotation,
        "shift_scale": ShiftScale,
        "random_crop": RandomCrop,
        "brightness_contrast": BrightnessContrast,
        "color_jitter": ColorJitter,
        "gaussian_blur": GaussianBlur,
        "gaussian_noise": GaussianNoise,
        "coarse_dropout": CoarseDropout,
        "time_warp": TimeWarp,
        "time_shift": TimeShift,
        "magnitude_warp": MagnitudeWarp,
        "scaling": Scaling,
        "frequency_mask": FrequencyMask,
        "jitter": Jitter,
        "channel_dropout": ChannelDropout,
        "cut_out": CutOut,
        "mixup": MixupPart,
    },
    entry_point_group="ringlight.augmentations",
)
"""Every augmentation by name, in the order in which they are applied."""

RESERVED = ("per_class_factor", "heavy")
"""Keys of the section that are no augmentations: see :mod:`ringlight.data.augment_config`."""
