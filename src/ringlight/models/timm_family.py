"""Every timm classifier by its timm name, as a family of the catalogue.

timm takes three seconds to import, so it is imported when a name is looked up. A factory shows the keyword arguments
that its architecture really takes, so that a misspelt one is caught before anything is built.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models.weights import PACKAGES, Pretrained, choose_weights, read_state, rename_in_order

ALWAYS = ("num_classes", "in_chans", "drop_rate", "pretrained")


class TimmFactory:
    """Builds one timm architecture: `factory(num_classes, in_chans=..., drop_rate=..., pretrained=..., ...)`.

    `drop_path_rate` is the share of residual branches dropped in training, `global_pool` the pooling before the
    classifier (`avg`, `max`, `avgmax`, `catavgmax`, `token`, ... as the architecture knows them), `img_size` the
    fixed input size in pixels of those that have one, `dynamic_img_size` lets a vision transformer take other sizes.
    None leaves the architecture's own default. Which of the four an architecture takes stands in its signature.
    """

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        accepted = accepted_keywords(architecture)
        full = inspect.signature(self.__call__)
        self.__signature__ = full.replace(
            parameters=[p for key, p in full.parameters.items() if key in ALWAYS or key in accepted]
        )
        self.__annotations__ = get_type_hints(type(self).__call__)

    def __call__(
        self,
        num_classes: int,
        *,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        pretrained: Pretrained = False,
        drop_path_rate: float | None = None,
        global_pool: str | None = None,
        img_size: int | tuple[int, int] | None = None,
        dynamic_img_size: bool | None = None,
    ) -> nn.Module:
        """Build the architecture: (B, in_chans, H, W) -> logits (B, num_classes).

        Raises:
            ModelError: timm refuses the arguments, or the weights do not fit.
        """
        options = {
            "drop_path_rate": drop_path_rate,
            "global_pool": global_pool,
            "img_size": tuple(img_size) if isinstance(img_size, list) else img_size,
            "dynamic_img_size": dynamic_img_size,
        }
        return create_timm(
            self.architecture,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
            pretrained=pretrained,
            options={key: value for key, value in options.items() if value is not None},
        )


class TimmClassifiers:
    """The family of all timm names, also `name.tag`; consulted when a name is not our own."""

    def names(self) -> list[str]:
        """Return every timm architecture, without tags."""
        import timm

        return list(timm.list_models())

    def factory(self, name: str) -> TimmFactory | None:
        """Return what builds `name`, None when timm has no such architecture or tag."""
        import timm

        if not timm.is_model(name):
            return None
        try:
            timm.get_pretrained_cfg(name)
        except RuntimeError:  # a known architecture with an unknown tag
            return None
        return TimmFactory(name)


@cache
def accepted_keywords(architecture: str) -> frozenset[str]:
    """Return the constructor arguments of the classifiers in the timm module that defines `architecture`."""
    from timm.models import model_entrypoint

    module = sys.modules[model_entrypoint(architecture.partition(".")[0]).__module__]
    kinds = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, nn.Module)]
    accepted: set[str] = set()
    for kind in kinds:
        names = {key for base in kind.__mro__ if base is not nn.Module for key in _own_arguments(base)}
        if "num_classes" in names:
            accepted |= names
    return frozenset(accepted)


def _own_arguments(kind: type) -> list[str]:
    constructor = vars(kind).get("__init__")
    return list(inspect.signature(constructor).parameters) if inspect.isfunction(constructor) else []


def pretrained_cfg(architecture: str) -> dict[str, Any]:
    """Return what timm knows of an architecture's weights: mean, std, input_size, classifier, hub, ... ."""
    import timm

    known = timm.get_pretrained_cfg(architecture)
    return {} if known is None else dict(vars(known))


def hub_of(architecture: str) -> str | None:
    """Return where a hub keeps the weights of an architecture, None when there are none."""
    cfg = pretrained_cfg(architecture)
    place = cfg.get("hf_hub_id") or cfg.get("url")
    return None if place is None else str(place)


def create_timm(
    architecture: str,
    *,
    num_classes: int,
    in_chans: int,
    drop_rate: float,
    pretrained: Pretrained,
    options: Mapping[str, object],
    state: dict[str, Tensor] | None = None,
) -> nn.Module:
    """Build a timm model with random, local or (when allowed) a hub's weights.

    `state` are the tensors of the file that `pretrained` names, when the caller has read them already. A stem made
    for three channels is adapted to `in_chans` as timm does: one channel gets the sum of the three. A classifier for
    another number of classes is left out and starts at random.

    Raises:
        ModelError: a drop-path rate out of range, timm refuses the arguments, or the weights do not fit.
    """
    rate = options.get("drop_path_rate", 0.0)
    if not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ModelError(
            "a share of at least 0 and below 1", got=str(rate), where="model.drop_path_rate", fix="try 0.1"
        )
    arguments: dict[str, Any] = {"in_chans": in_chans, **options}
    if drop_rate > 0 or "drop_rate" in accepted_keywords(architecture):
        arguments["drop_rate"] = drop_rate
    hub = None if pretrained is False else hub_of(architecture)
    choice = choose_weights(architecture, pretrained, architecture=architecture, hub=hub)
    if choice.path is None:
        return _create(architecture, num_classes, arguments, from_hub=choice.source == "hub")
    if state is None:
        state = _named_for(architecture, read_state(choice.path), choice.path)
    return _create_from(architecture, num_classes, arguments, state, str(choice.path))


def _create(architecture: str, num_classes: int, arguments: Mapping[str, Any], *, from_hub: bool) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(architecture, pretrained=from_hub, num_classes=num_classes, **arguments)
    except (AssertionError, TypeError, ValueError, KeyError, RuntimeError, NotImplementedError, OSError) as error:
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ModelError(
            f"arguments and weights that `{architecture}` takes",
            got=f"{listed} ({type(error).__name__}: {str(error).partition(chr(10))[0]})",
            where=f"model `{architecture}`",
            fix="model.pretrained=false avoids the hub" if from_hub else "leave out the one it does not know",
        ) from error
    return model


def _named_for(architecture: str, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give a package's tensors timm's names; any other file has them already."""
    packaged = {package.find() for package in PACKAGES}
    if path not in packaged:
        return state
    reference = _create(architecture, pretrained_cfg(architecture)["num_classes"], {}, from_hub=False)
    return rename_in_order(state, reference.state_dict(), str(path))


def _create_from(
    architecture: str, num_classes: int, arguments: Mapping[str, Any], state: dict[str, Tensor], where: str
) -> nn.Module:
    """Build the model and load `state` strictly: nothing but a classifier of another size may stay random."""
    import timm

    cfg = pretrained_cfg(architecture)
    overlay: dict[str, object] = {"state_dict": dict(state), "source": None, "label_offset": None}
    heads = _names(cfg.get("classifier"))
    stored = [state[f"{head}.weight"] for head in heads if f"{head}.weight" in state]
    classes = int(stored[0].shape[0]) if stored else int(cfg.get("num_classes") or 0)
    overlay["num_classes"] = classes
    for stem in _names(cfg.get("first_conv")):
        channels = state[f"{stem}.weight"].shape[1] if f"{stem}.weight" in state else None
        if channels == arguments["in_chans"]:  # weights that were trained on this many channels already
            overlay["input_size"] = (channels, *cfg["input_size"][1:])
    try:
        source = timm.create_model(
            architecture, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **arguments
        )
    except (RuntimeError, KeyError, ValueError, AssertionError, TypeError) as error:
        raise _misfit(architecture, error, where) from error
    if classes == num_classes:
        trained: nn.Module = source
        return trained
    carried = {
        key: value for key, value in source.state_dict().items() if key.rpartition(".")[0] not in heads or not classes
    }
    model = _create(architecture, num_classes, arguments, from_hub=False)
    result = model.load_state_dict(carried, strict=False)
    left = [key for key in result.missing_keys if key.rpartition(".")[0] not in heads]
    if left or result.unexpected_keys:
        raise _misfit(architecture, KeyError((left or result.unexpected_keys)[0]), where)
    return model


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(name) for name in value)  # type: ignore[attr-defined]


def _misfit(architecture: str, error: Exception, where: str) -> ModelError:
    """Name the first tensor that does not fit, from PyTorch's long list."""
    text = str(error)
    expected, got = f"the tensors of `{architecture}`", f"{type(error).__name__}: {text.partition(chr(10))[0]}"
    size = re.search(r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)", text)
    missing = re.search(r'Missing key\(s\) in state_dict: "([^"]+)"', text)
    unexpected = re.search(r'Unexpected key\(s\) in state_dict: "([^"]+)"', text)
    if size is not None:
        expected, got = f"a tensor of shape ({size[3]}) for `{size[1]}`", f"one of shape ({size[2]})"
    elif missing is not None:
        expected, got = f"the tensor `{missing[1]}`", "a file without it"
    elif unexpected is not None:
        got = f"the unknown tensor `{unexpected[1]}`"
    return ModelError(expected, got=got, where=where, fix=f"use weights that were saved from `{architecture}`")
