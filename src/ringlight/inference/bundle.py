"""The bundle: a trained model as two files that need nothing else.

`model.safetensors` holds the weights, `bundle.json` everything needed to build the model and feed it, and the SHA-256
of the weights. Loading checks version and checksum, and never unpickles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ringlight.data.preprocess import InputSpec
from ringlight.errors import BundleError, DataError
from ringlight.files import file_sha256, unwritable, whole_file, write_json
from ringlight.types import Task

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
INDEX = "bundle.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What `bundle.json` says, without the weights.

    `architecture` is a catalogue name with its parameters: `name`, `in_chans`, `drop_rate`, `params`.
    """

    architecture: Mapping[str, Any]
    task: Task
    classes: tuple[str, ...]
    input_spec: InputSpec
    training_config: Mapping[str, Any] = field(default_factory=dict)
    dataset_fingerprint: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the format version first."""
        values = asdict(self)
        values["input_spec"] = self.input_spec.to_dict()
        values["classes"] = list(self.classes)
        return {"format_version": values.pop("format_version"), **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from JSON values.

        Raises:
            BundleError: a version this Ringlight does not know, or a key that is missing.
        """
        found = values.get("format_version")
        if found != FORMAT_VERSION:
            raise BundleError(
                f"bundle format version {FORMAT_VERSION}",
                got=repr(found),
                where=where,
                fix="load it with the Ringlight that wrote it (see `versions` in the file) or a newer one",
            )
        try:
            return cls(
                architecture=values["architecture"],
                task=values["task"],
                classes=tuple(values["classes"]),
                input_spec=InputSpec.from_dict(values["input_spec"]),
                training_config=values.get("training_config", {}),
                dataset_fingerprint=values.get("dataset_fingerprint", ""),
                metrics=values.get("metrics", {}),
                versions=values.get("versions", {}),
            )
        except KeyError as error:
            raise BundleError(
                f"the key {error}", got="none", where=where, fix="export the model again from its run"
            ) from error
        except (TypeError, DataError) as error:
            raise BundleError(
                "values as Ringlight writes them", got=str(error), where=where, fix="copy the bundle again"
            ) from error


def write_bundle(folder: Path, bundle: Bundle, module: nn.Module) -> None:
    """Write weights and index into `folder`, each file whole, the index last (a bundle without it is not one)."""
    from safetensors.torch import save

    # A clone in standard layout: safetensors refuses tensors that share memory or are strided.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    # As bytes: safetensors' own writer reports a full disk as an error of its own kind, without the reason.
    with whole_file(folder / WEIGHTS) as part:
        part.write_bytes(save(state, metadata={"format": "pt"}))
    index = {**bundle.to_dict(), "files": {WEIGHTS: file_sha256(folder / WEIGHTS)}}
    write_json(folder / INDEX, {**index, "index_sha256": _digest(index)})


def read_bundle(path: Path) -> tuple[Bundle, nn.Module]:
    """Read a bundle folder (or a run folder that holds one) and build its model, on the CPU, in evaluation mode.

    Raises:
        BundleError: nothing there, an unknown version, a file that is missing or whose checksum is wrong, or weights
            that do not fit the architecture.
    """
    folder = find_bundle(path)
    index = folder / INDEX
    values = _read_index(index)
    bundle = Bundle.from_dict(values, str(index))
    _check_index(values, str(index))
    for name, expected in values["files"].items():
        _check_file(folder / Path(name).name, expected)
    return bundle, _build(bundle, folder / WEIGHTS)


def find_bundle(path: Path) -> Path:
    """Return the bundle folder at `path`: itself, its `bundle/` (a run folder), or the folder of a named bundle.json.

    Raises:
        BundleError: there is none.
    """
    candidates = [path, path / "bundle", path.parent if path.name in (INDEX, WEIGHTS) else path]
    for folder in candidates:
        if (folder / INDEX).is_file():
            return folder
    got = "a folder without it" if path.is_dir() else "nothing there"
    raise BundleError(
        f"a bundle ({INDEX} and {WEIGHTS}) or a finished run", got=got, where=str(path), fix="check the path"
    )


def _read_index(index: Path) -> dict[str, Any]:
    try:
        values = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError("readable JSON", got=str(error), where=str(index), fix="copy the bundle again") from error
    if not isinstance(values, dict):
        raise BundleError("a JSON object", got=type(values).__name__, where=str(index), fix="copy the bundle again")
    return values


def _digest(index: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _check_index(values: dict[str, Any], where: str) -> None:
    """Refuse an index that was edited: classes in another order would give every score another name.

    Raises:
        BundleError: a checksum is missing or wrong.
    """
    files = values.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise BundleError(f"a checksum of {WEIGHTS}", got="none", where=where, fix="export the model again")
    rest = {key: value for key, value in values.items() if key != "index_sha256"}
    if values.get("index_sha256") != _digest(rest):
        raise BundleError(
            "an index as it was written",
            got="another checksum",
            where=where,
            fix="it was edited or damaged: copy the bundle again",
        )


def _check_file(path: Path, expected: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise BundleError(
            "a file the bundle lists", got=error.strerror or str(error), where=str(path), fix="copy the bundle again"
        ) from error
    if found != expected:
        raise BundleError(
            f"SHA-256 {expected[:12]}...",
            got=f"{found[:12]}...",
            where=str(path),
            fix="the file was changed or damaged: copy the bundle again",
        )


def _build(bundle: Bundle, weights: Path) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ringlight.models import build_model

    architecture = bundle.architecture
    module = build_model(
        architecture["name"],
        num_classes=len(bundle.classes),
        in_chans=architecture["in_chans"],
        drop_rate=architecture["drop_rate"],
        pretrained=False,
        image_size=bundle.input_spec.image_size,
        params=architecture["params"],
    ).module
    try:
        module.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"weights of `{architecture['name']}`",
            got=str(error).splitlines()[0],
            where=str(weights),
            fix="load it with the Ringlight and timm that wrote it (see `versions` in bundle.json)",
        ) from error
    return module.eval()
