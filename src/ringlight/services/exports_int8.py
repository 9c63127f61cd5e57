"""INT8 for an export that was proved: calibrated on training records, judged on the validation part, or refused.

The export in single precision is proved first, as any other; what is quantised is therefore the trained model. The
quantised one cannot be: its probabilities move even where its labels agree. It is judged by what it decides, with rules
fixed again for it (:mod:`ringlight.training.accept_int8`), on every record of the validation part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import UserError
from ringlight.inference.export_files import MODEL_FILES, Export
from ringlight.inference.export_onnx import retell
from ringlight.inference.exported import engine_of
from ringlight.services.export_records import batches_of
from ringlight.services.judged_records import part_of_run, require_run
from ringlight.services.saved_models import SavedModel, seed_of
from ringlight.types import Prediction

if TYPE_CHECKING:
    from ringlight.inference.engines import Engine
    from ringlight.inference.export import ExportOptions
    from ringlight.types import Dataset

DATA_FIX = "bring the run's data back: INT8 is calibrated on its training part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Options:
    """How a quantised model is judged: see :func:`ringlight.training.accept_int8.accept_int8`.

    Args:
        max_loss: of macro-F1, 0 to 1; None takes 0.002.
        guarded: classes whose recall may not fall; None takes those that an operating point is about.
        accept_undecided: write a model of which too few records say whether it is good enough.
        max_drift: relative error of the logits that is refused whatever the labels say, 0 to 1; None takes 0.15.
        keep_float: layers that stay in single precision, as a refusal names them.
    """

    max_loss: float | None = None
    guarded: Sequence[str] | None = None
    accept_undecided: bool = False
    max_drift: float | None = None
    keep_float: Sequence[str] = ()


class Int8Change:
    """Makes an INT8 model of a proved export, as `export_model` asks for it.

    Args:
        opened: the model and its run.
        options: of the export.
        choices: how it is judged.
        workspace: where runs are looked up by name.

    Raises:
        UserError: what cannot be exported so.
        RunError: the model stands alone: there are no training records to calibrate on.
    """

    def __init__(
        self, opened: SavedModel, options: ExportOptions, choices: Int8Options, workspace: Path | str | None
    ) -> None:
        if options.format not in ("onnx", "openvino") or options.precision != "f32":
            raise UserError(
                "--int8 with --format onnx or openvino alone", got=f"{options.format}, {options.precision}",
                where="--int8", fix="leave the other precision out",
            )  # fmt: skip
        if getattr(opened.learner.module, "is_estimator", False):
            raise UserError(
                "a network for --int8", got=str(opened.bundle.architecture["name"]), where="--int8",
                fix="leave it out: a classical model is computed in single precision",
            )  # fmt: skip
        if options.calibrated:
            raise UserError(
                "--int8 without --calibrated", got="both", where="--int8",
                fix="leave --calibrated out: the calibration is fitted again, to the quantised model",
            )  # fmt: skip
        if choices.max_drift is not None and not 0 < choices.max_drift <= 1:
            raise UserError(
                "a relative error above 0, 1 at most", got=f"{choices.max_drift:g}", where="--max-drift",
                fix="leave it out, for 0.15",
            )  # fmt: skip
        require_run(opened, "training", "export the run itself: INT8 is calibrated on its training records")
        self.opened = opened
        self.choices = choices
        self.workspace = workspace

    def __call__(self, made: Export, reference: Engine) -> Export:
        """Quantise, fix the rules again, judge.

        Raises:
            ModelError: it is not as good as its original, or too few records say so.
            MissingExtraError: NNCF is not installed, for OpenVINO.
        """
        from ringlight.inference.quantize import calibration_rows, refuse_leak
        from ringlight.training.accept_int8 import accept_int8

        opened, seed = self.opened, seed_of(self.opened)
        train = part_of_run(opened, "train", self.workspace, fix=DATA_FIX)
        calibration = train.take(calibration_rows(train, seed=seed))
        judged = part_of_run(opened, "val", self.workspace, fix=DATA_FIX)
        refuse_leak(calibration, judged)
        quantized = _quantize(made, _Fed(opened, calibration, made), self.choices)
        before = self._scores(reference, judged)
        after = self._scores(engine_of(made), judged)
        asked = {"max_loss": self.choices.max_loss, "max_drift": self.choices.max_drift}
        bounds = {name: value for name, value in asked.items() if value is not None}
        verdict = accept_int8(
            before, after, opened.settings, groups=judged.groups, guarded=self.choices.guarded,
            layers=quantized.layers, seed=seed, **bounds,
        )  # fmt: skip
        verdict.require(where="--int8", accept_undecided=self.choices.accept_undecided)
        bundle = verdict.bundle(made.bundle)
        if made.format == "onnx":
            retell(made.model, bundle, preprocess=bool(made.facts["preprocess"]))
        size = sum((made.folder / name).stat().st_size for name in MODEL_FILES[made.format])
        told = {**verdict.to_dict(), "quantized": quantized.to_dict(), "lines": verdict.lines()}
        facts = {**made.facts, "precision": "int8", "num_bytes": size, "int8": told}
        return replace(made, bundle=bundle, facts=facts)

    def _scores(self, engine: Engine, records: Dataset) -> Prediction:
        logits = np.concatenate([engine.run(inputs)[0] for inputs in batches_of(self.opened, records)])
        bundle = self.opened.bundle
        return Prediction(records.ids, logits, bundle.classes, bundle.task, targets=np.asarray(records.targets()))


def _quantize(made: Export, calibration: _Fed, choices: Int8Options) -> Any:
    """Put a quantised model in the place of the export's."""
    if made.format == "onnx":
        from ringlight.inference.quantize import MAX_DRIFT
        from ringlight.inference.quantize_onnx import quantize_onnx

        return quantize_onnx(
            made.model, made.model, calibration, task=made.bundle.task, keep_float=choices.keep_float,
            max_drift=MAX_DRIFT if choices.max_drift is None else choices.max_drift,
        )  # fmt: skip
    from ringlight.inference.quantize_openvino import quantize_openvino

    return quantize_openvino(made.model, made.model, calibration, task=made.bundle.task, keep_float=choices.keep_float)


class _Fed:
    """What the graph takes of calibration records, batch by batch, as often as it is gone through."""

    def __init__(self, opened: SavedModel, records: Dataset, made: Export) -> None:
        self.opened, self.records, self.made = opened, records, made

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        for inputs in batches_of(self.opened, self.records):
            yield self.made.inside.fed(inputs)
