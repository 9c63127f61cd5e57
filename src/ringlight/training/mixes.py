"""The catalogue of ways to mix a batch, what is wrong with a section `mix`, and the mixer of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from ringlight.config.schema import Config
from ringlight.data.augment_config import augmentation_needs, batch_augmentations
from ringlight.data.augmentations_base import Kind
from ringlight.errors import ConfigError, Problems
from ringlight.registry import Catalogue
from ringlight.training.mixing import Mixed, Mixer, Mixup, NoMix, Size, chance
from ringlight.training.mixing_cut import CutMix, MixToken, TokenMix

Method = Literal["mixup", "cutmix", "tokenmix", "mixtoken"]


class RandomMix:
    """Mix each batch in one way of several, picked at random.

    Args:
        methods: what is picked from, each as likely; a name that stands twice is picked twice as often.
        alpha: of all methods, 0.01 to 10; each method's own default when None.
        probability: of a batch being mixed, 0 to 1.
        seed: together with epoch and step it determines the method and what that does.
        patch_size: side of a token in pixels, for the methods that mix tokens.

    Raises:
        ConfigError: no method, or a number is out of range.
    """

    def __init__(
        self,
        *,
        seed: int,
        methods: Sequence[Method] = ("mixup", "cutmix", "tokenmix", "mixtoken"),
        alpha: float | None = None,
        probability: float = 1.0,
        patch_size: int = 16,
    ) -> None:
        if not methods:
            raise ConfigError(
                "one method or more", got="none", where="mix.methods", fix="write mix.methods=[mixup,cutmix]"
            )
        self.seed = seed
        self.methods = tuple(methods)
        common: dict[str, Any] = {"probability": probability, "seed": seed}
        common |= {} if alpha is None else {"alpha": alpha}
        tokens = {"patch_size": patch_size}
        makers: dict[str, tuple[Callable[..., Mixer], dict[str, Any]]] = {
            "mixup": (Mixup, {}),
            "cutmix": (CutMix, {}),
            "tokenmix": (TokenMix, tokens),
            "mixtoken": (MixToken, tokens),
        }
        self.mixers: list[Mixer] = [makers[name][0](**common, **makers[name][1]) for name in self.methods]
        kinds: tuple[Kind, ...] = ("images", "windows")
        self.takes: tuple[Kind, ...] = tuple(kind for kind in kinds if all(kind in one.takes for one in self.mixers))

    def mix(self, inputs: Tensor, targets: Tensor, *, epoch: int, step: int) -> Mixed:
        """Mix a batch in the way that is this step's.

        Raises:
            DataError: see :meth:`ringlight.training.mixing.BatchMixer.mix`.
        """
        picked = int(chance(self.seed, epoch, step, "random").integers(len(self.mixers)))
        return self.mixers[picked].mix(inputs, targets, epoch=epoch, step=step)

    def size_problem(self, size: Size) -> str | None:
        """Return why pictures (H, W) cannot be mixed in one of the ways."""
        return next((line for one in self.mixers if (line := one.size_problem(size)) is not None), None)


MIXES: Catalogue[Mixer] = Catalogue(
    "mix",
    {
        "none": NoMix,
        "mixup": Mixup,
        "cutmix": CutMix,
        "tokenmix": TokenMix,
        "mixtoken": MixToken,
        "random": RandomMix,
    },
    supplied=("seed",),
    entry_point_group="ringlight.mixes",
)
"""What `mix.name` may be. Each is built as `mix(seed=..., ...)`."""


def mix_problems(mix: object, augmentation: object, *, kind: Kind | None = None) -> list[str]:
    """Return what is wrong with the section `mix`, by itself and beside `augmentation`, a line each.

    Args:
        mix: the section, name and parameters; anything but a mapping is the schema's to tell.
        augmentation: the section.
        kind: of the records; None when it is not known yet.

    Examples:
        >>> mix_problems({"name": "cutmx"}, {})
        ['mix.name: expected a known mix, got `cutmx`; did you mean `cutmix`?']
    """
    section = augmentation if isinstance(augmentation, Mapping) else {}
    blends = section.get("mixup") not in (None, False)
    if not isinstance(mix, Mapping) or not isinstance(mix.get("name"), str):
        return _box_problems(section) if blends else []
    name, params = mix["name"], {key: value for key, value in mix.items() if key != "name"}
    lines = MIXES.problems(name, params)
    if not lines:
        try:
            mixer = _build(name, params, seed=0)
        except ConfigError as error:
            lines.append(str(error))
        else:
            lines += _kind_problems(name, mixer, kind)
    if name != "none" and blends:
        both = ConfigError(
            "mixup in one place", got=f"mix={name} and augmentation.mixup", where="mix.name",
            fix="set augmentation.mixup=null, or mix=none",
        )  # fmt: skip
        lines.append(str(both))
    return lines + (_box_problems(section) if name != "none" or blends else [])


def _build(name: str, params: Mapping[str, Any], *, seed: int) -> Mixer:
    return MIXES.build(name, **params, seed=seed)


def _kind_problems(name: str, mixer: Mixer, kind: Kind | None) -> list[str]:
    if kind is None or kind in mixer.takes:
        return []
    return [
        f"mix.name: expected a mix of {kind}, got {name}, which cuts pictures; set mix=mixup or mix=none"
        if name != "random"
        else f"mix.methods: expected mixes of {kind}, got some that cut pictures; set mix=mixup or mix=none"
    ]


def _box_problems(augmentation: Mapping[str, object]) -> list[str]:
    """Refuse mixing beside what goes by boxes: those of a mixture are neither record's."""
    needing = augmentation_needs(augmentation)
    if not needing:
        return []
    line = ConfigError(
        "augmentations that need no boxes where batches are mixed", got=needing[0], where=f"augmentation.{needing[0]}",
        fix="set it to null, or mix=none and augmentation.mixup=null",
    )  # fmt: skip
    return [str(line)]


def mixer_of(config: Config) -> Mixer | None:
    """Return what mixes the batches of a run, None where nothing does.

    Raises:
        Problems: the sections have mistakes, a line each.
    """
    lines = mix_problems({"name": config.mix.name, **config.mix.params()}, config.augmentation)
    if lines:
        raise Problems(lines)
    seed = config.experiment.seed
    if config.mix.name != "none":
        return _build(config.mix.name, config.mix.params(), seed=seed)
    given = batch_augmentations(config.augmentation).get("mixup")
    return None if given is None else Mixup(**given, seed=seed)


def mix_keys(config: Config) -> list[str]:
    """Return the keys that ask for mixing, for what is said where there are no steps.

    Examples:
        >>> mix_keys(Config.model_validate({"mix": {"name": "cutmix"}}))
        ['mix.name=cutmix']
    """
    asked = [f"augmentation.{name}" for name in batch_augmentations(config.augmentation)]
    return asked + ([] if config.mix.name == "none" else [f"mix.name={config.mix.name}"])


def check_size(config: Config, size: Size) -> None:
    """Refuse to mix pictures (H, W) that are no more than one token.

    Raises:
        Problems: saying so.
    """
    mixer = None if config.training.mode == "frozen" else mixer_of(config)
    line = None if mixer is None else mixer.size_problem(size)
    if line is not None:
        raise Problems([line])
