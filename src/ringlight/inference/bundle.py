"""The bundle: a trained model as two files that need nothing else.

`model.safetensors` holds the weights, `bundle.json` everything needed to build the model, feed it and decide by its
scores, and the SHA-256 of the weights. Loading checks version and checksum, and never unpickles.

Format 2 added what was fixed on validation: calibration, operating points, test-time augmentation, reject option. A
bundle of format 1 is read as one without them: raw probabilities, the best class or 0.5. Format 3 added the open-set
rule, which flags records of no known class; a bundle of format 2 is read as one that flags none. Format 4 added what
a plant asks for later: licence, snapshot, and the reference that a watch compares the line with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ringlight.data.specs import Spec, spec_from_dict
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import BundleError, DataError, did_you_mean
from ringlight.evaluation.calibration import Calibration
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.files import file_sha256, unwritable, whole_file, write_json
from ringlight.inference.bundle_files import INDEX as INDEX
from ringlight.inference.bundle_files import WEIGHTS as WEIGHTS
from ringlight.inference.bundle_files import check_file, check_files, check_index, digest, read_index
from ringlight.inference.tta import Tta
from ringlight.types import Task

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
DEFAULT_POINT = "default"
"""The operating point every model has: the best class, or every label with a probability of 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What `bundle.json` says, without the weights.

    `architecture` is a catalogue name with its parameters: `name`, `in_chans`, `drop_rate`, `params`, and `head` where
    something else stands in the place of the linear classifier. What was fixed on
    validation is kept as its own `to_dict` wrote it: `calibration` (empty: none), `operating_points` by name, `tta`;
    `operating_point` names the point that decides, `good_class` the class of good parts, and decisions less sure than
    `reject_threshold` are for a human, and so are records that `open_set` (empty: no rule) takes for strangers.
    `licence` is that of the weights, `snapshot` the immutable data set they were trained on, None where they are not
    known; `watch` is what the line is compared with (empty: nothing).
    """

    architecture: Mapping[str, Any]
    task: Task
    classes: tuple[str, ...]
    input_spec: Spec
    training_config: Mapping[str, Any] = field(default_factory=dict)
    dataset_fingerprint: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    operating_points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    operating_point: str = DEFAULT_POINT
    tta: Mapping[str, Any] = field(default_factory=lambda: Tta().to_dict())
    good_class: str | None = None
    reject_threshold: float | None = None
    open_set: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    snapshot: str | None = None
    watch: Mapping[str, Any] = field(default_factory=dict)
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
            BundleError: a version this Ringlight does not know, a key that is missing, or rules that do not fit the
                model.
        """
        found = values.get("format_version")
        if found not in READABLE_VERSIONS:
            raise BundleError(
                f"bundle format version {' or '.join(map(str, READABLE_VERSIONS))}",
                got=repr(found),
                where=where,
                fix="load it with the Ringlight that wrote it (see `versions` in the file) or a newer one",
            )
        try:
            bundle = cls(
                architecture=values["architecture"],
                task=values["task"],
                classes=tuple(values["classes"]),
                input_spec=spec_from_dict(values["input_spec"]),
                training_config=values.get("training_config", {}),
                dataset_fingerprint=values.get("dataset_fingerprint", ""),
                metrics=values.get("metrics", {}),
                versions=values.get("versions", {}),
                calibration=values.get("calibration", {}),
                operating_points=values.get("operating_points", {}),
                operating_point=values.get("operating_point", DEFAULT_POINT),
                tta=values.get("tta", Tta().to_dict()),
                good_class=values.get("good_class"),
                reject_threshold=values.get("reject_threshold"),
                open_set=values.get("open_set", {}),
                licence=values.get("licence"),
                snapshot=values.get("snapshot"),
                watch=values.get("watch", {}),
            )
            bundle._check_rules(where)
        except KeyError as error:
            raise BundleError(
                f"the key {error}", got="none", where=where, fix="export the model again from its run"
            ) from error
        except (TypeError, AttributeError, DataError) as error:
            raise BundleError(
                "values as Ringlight writes them", got=str(error), where=where, fix="copy the bundle again"
            ) from error
        return bundle

    def _check_rules(self, where: str) -> None:
        """Refuse rules that were made for another model: they would decide, and nobody would notice."""
        Tta.from_dict(self.tta, where)
        if self.calibration:
            Calibration.from_dict(self.calibration).calibrator.apply([[0.0] * len(self.classes)])
        limit = self.reject_threshold
        if limit is not None and not (isinstance(limit, float | int) and 0 <= limit <= 1):
            raise DataError("a number from 0 to 1", got=repr(limit), where="reject_threshold", fix="export it again")
        for name, values in self.operating_points.items():
            point = OperatingPoint.from_dict(values)
            if (point.task, point.classes) != (self.task, self.classes):
                fix = "fix it on this model's validation"
                raise DataError("the task and classes of the model", got="others", where=f"point {name}", fix=fix)
        self.point(self.operating_point)
        means = OpenSetRule.from_dict(self.open_set).means if self.open_set else None
        if means is not None and len(means) != len(self.classes):
            got, fix = f"{len(means)}", "export it again"
            raise DataError(f"{len(self.classes)} class means, one a class", got=got, where="open_set", fix=fix)

    def point(self, name: str) -> OperatingPoint:
        """Return a stored operating point by its name, or the default one.

        Raises:
            DataError: there is none of that name; the message suggests the nearest.
        """
        if name in self.operating_points:
            return OperatingPoint.from_dict(self.operating_points[name])
        if name != DEFAULT_POINT:
            fix = did_you_mean(name, [DEFAULT_POINT, *self.operating_points])
            raise DataError("an operating point of the model", got=f"`{name}`", where="operating_point", fix=fix)
        return OperatingPoint.default(self.task, self.classes)


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
    write_json(folder / INDEX, {**index, "index_sha256": digest(index)})


def read_bundle(path: Path, *, module: nn.Module | None = None) -> tuple[Bundle, nn.Module]:
    """Read a bundle folder (or a run folder that holds one) and build its model, on the CPU, in evaluation mode.

    `module` is the model, built as for its training, of a bundle whose model is in no catalogue; it gets the weights.

    Raises:
        BundleError: nothing there, an unknown version, a file that is missing or whose checksum is wrong, or weights
            that do not fit the architecture; a model that is in no catalogue and was not passed, or one that is passed
            beside a model of the catalogue.
    """
    folder = find_bundle(path)
    index = folder / INDEX
    values = read_index(index)
    bundle = Bundle.from_dict(values, str(index))
    check_index(values, str(index))
    for name, expected in values["files"].items():
        check_file(folder / Path(name).name, expected)
    return bundle, _build(bundle, folder / WEIGHTS, module)


def check_bundle(folder: Path) -> Bundle:
    """Check a bundle without building its model: what its index says, and its files.

    Raises:
        BundleError: an unknown version, rules that do not fit, or a file that is not as it was written.
    """
    index = folder / INDEX
    bundle = Bundle.from_dict(read_index(index), str(index))
    check_files(folder)
    return bundle


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


def _build(bundle: Bundle, weights: Path, given: nn.Module | None) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ringlight.models.heads import install_head, make_head, num_features_of

    architecture = bundle.architecture
    module = _network(bundle, given, str(weights.with_name(INDEX)))
    if architecture.get("head"):
        install_head(module, make_head(architecture["head"], num_features_of(module), len(bundle.classes)))
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


def _network(bundle: Bundle, given: nn.Module | None, where: str) -> nn.Module:
    from ringlight.models.adapters import CUSTOM, rebuilt

    architecture, spec = bundle.architecture, bundle.input_spec
    if architecture["name"] == CUSTOM and isinstance(spec, WindowSpec):
        return rebuilt(
            architecture["params"], given, num_classes=len(bundle.classes), shape=(spec.length, spec.in_chans),
            task=bundle.task, where=where,
        )  # fmt: skip
    if given is not None:
        raise BundleError(
            f"no module for a bundle that names its model, {architecture['name']}", got=type(given).__name__,
            where=where, fix="leave `module` out",
        )  # fmt: skip
    if isinstance(spec, WindowSpec):
        from ringlight.models import build_sequence_model

        return build_sequence_model(
            architecture["name"], num_classes=len(bundle.classes), in_chans=spec.in_chans, length=spec.length,
            drop_rate=architecture["drop_rate"], task=bundle.task, params=architecture["params"],
        ).module  # fmt: skip
    from ringlight.models import build_model

    return build_model(
        architecture["name"], num_classes=len(bundle.classes), in_chans=architecture["in_chans"],
        drop_rate=architecture["drop_rate"], pretrained=False, image_size=spec.image_size,
        params=architecture["params"],
    ).module  # fmt: skip
