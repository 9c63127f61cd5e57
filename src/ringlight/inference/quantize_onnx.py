"""INT8 for ONNX Runtime (and for whatever reads its QDQ graphs, OpenVINO among them).

ONNX Runtime's own static quantisation, with what experience on real parts added:

- **Weights per channel, signed; activations unsigned with an offset (u8s8).** ONNX Runtime's fastest kernels on x86.
- **Seven bits for weights.** Without VNNI, `vpmaddubsw` adds two products of 8 bits in 16 bits and cuts off what does
  not fit: 2 · 255 · 127 > 32,767. With weights up to 64 nothing is cut off (2 · 255 · 64 = 32,640), so that a model
  computes the same on every processor and what was checked here holds there. `full_range` uses all eight bits, for
  a line whose processors have VNNI, checked on such a one.
- **The classifier stays in single precision**: a thousandth of the work, and the layer whose weights are the least
  even. On 300 NEU images it made the difference between 48 and 96 % of the labels.
- **Biases are corrected.** Rounding weights moves the mean of each output channel by (Wq - W) E[x]; E[x], the mean
  input, is known from the calibration records (Nagel et al. 2019, arXiv:1906.04721, section 4.2, equation 17). ONNX
  Runtime does not do it. The drift there fell from 63 to 20 %.
- **The classifier is fitted to its noisy features** (:mod:`ringlight.inference.quantize_classifier`): 20 to 16 % there.
- **The first layer stays in single precision where the drift on calibration records comes near its bound.** Errors
  are spread over the rest: to keep the 4 or 12 worst layers of 50 did not lower it.

Minimum and maximum as calibration: percentiles and entropy cut off what a rare defect is known by, and gave no smaller
drift on those images.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ringlight.errors import ModelError
from ringlight.evaluation.score_error import centred, relative_error
from ringlight.inference.quantize import MAX_DRIFT, NUM_JUDGED, Batches, Inputs, LayerError, Quantized, check_model_file
from ringlight.inference.quantize_bias import correct_biases, mean_inputs
from ringlight.inference.quantize_classifier import can_refit, classifier_inputs, refit_classifier
from ringlight.inference.quantize_graph import Graph, Layer, add_biases
from ringlight.inference.quantize_layers import worst_layers
from ringlight.runtime import LOGGER
from ringlight.types import Task

ROOM = 0.8
"""Share of the bound that the drift on calibration records may use: the classifier is fitted to them."""
NUM_LAYERS = 3
"""Layers that a report names."""


def quantize_onnx(
    model: Path,
    out: Path,
    calibration: Iterable[Inputs],
    *,
    task: Task = "multiclass",
    keep_float: Sequence[str] = (),
    max_drift: float = MAX_DRIFT,
    full_range: bool = False,
    threads: int | None = None,
) -> Quantized:
    """Quantise an exported model.

    Args:
        model: the `.onnx` file in single precision; its first output are the logits (B, K).
        out: where the quantised `.onnx` goes.
        calibration: what the graph takes, of **training** records, in batches; gone through several times
            (:class:`~ringlight.inference.quantize.Batches`).
        task: of the model: what is the same for all classes does not count as drift when multi-class.
        keep_float: layers that stay in single precision in any case, by their modules' names.
        max_drift: relative error of the logits; near it the first layer stays in single precision, too.
        full_range: eight bits for weights, for processors with VNNI.
        threads: of ONNX Runtime while calibrating; None leaves it to it.

    Returns:
        What came of it. The drift is told, with the worst layers; whether that is good enough is
        decided on validation records (`training/accept_int8.py`).

    Raises:
        ModelError: no such model, nothing in it to quantise, or a layer to keep that it does not have.
        DataError: calibration inputs that cannot be used.
    """
    source, batches = check_model_file(model, (".onnx",)), Batches(calibration)
    with tempfile.TemporaryDirectory(prefix="ringlight-int8-") as name, _quiet():
        maker = _Maker(source, Path(name), batches, task, full_range, threads)
        kept = list(dict.fromkeys([maker.graph.classifier(), *maker.graph.find(tuple(keep_float))]))
        found = maker.attempt(kept)
        if found > ROOM * max_drift:
            kept = list(dict.fromkeys([*kept, maker.graph.layers[0]]))
            found = maker.attempt(kept)
        layers = tuple(maker.errors()[:NUM_LAYERS])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(maker.result.read_bytes())
    quantized = Quantized(
        path=out, method="onnxruntime, static, QDQ, minimum and maximum, biases corrected, classifier fitted",
        num_calibration=batches.count(), drift=found, weight_bits=8 if full_range else 7,
        kept_float=tuple(layer.name for layer in kept), layers=layers,
    )  # fmt: skip
    LOGGER.debug(
        "INT8: drift %.1f %% of the logits, in single precision: %s", 100 * found, ", ".join(quantized.kept_float)
    )
    return quantized


class _Maker:
    """Quantises one model several times: ranges and mean inputs are found once."""

    def __init__(
        self, source: Path, folder: Path, batches: Batches, task: Task, full_range: bool, threads: int | None
    ) -> None:  # fmt: skip
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.prepared, self.result = folder / "prepared.onnx", folder / "quantized.onnx"
        try:
            quant_pre_process(source, self.prepared, skip_symbolic_shape=True)
        except Exception as error:  # whatever the graph library raises
            raise ModelError(
                "a model that ONNX Runtime can prepare", got=str(error).strip().splitlines()[0], where=str(source),
                fix="export it again",
            ) from error  # fmt: skip
        add_biases(self.prepared)
        self.graph = Graph(self.prepared, {layer.node.name: layer.name for layer in Graph(source).layers})
        self.task, self.full_range, self.threads = task, full_range, threads
        self._folder, self._batches = folder, batches
        self._means = mean_inputs(self.graph, batches, threads)
        self._judged = batches.first(NUM_JUDGED)
        self._scores = self._run(self.prepared)
        self._features = (
            classifier_inputs(self.graph, self.prepared, batches, threads) if can_refit(self.graph) else None
        )

    def attempt(self, kept: list[Layer]) -> float:
        """Quantise all but some layers and return the drift."""
        self._quantize(kept)
        correct_biases(self.graph, self.result, self._means)
        if self._features is not None:
            noisy = classifier_inputs(self.graph, self.result, self._batches, self.threads)
            refit_classifier(self.graph, self.result, self._features, noisy)
        return relative_error(self._scores, self._run(self.result))

    def errors(self) -> list[LayerError]:
        """Return the layers of the last attempt, the worst first."""
        return worst_layers(self.graph, self.result, [self._judged[0][:1], self._judged[-1][-1:]], self.threads)

    def _quantize(self, kept: list[Layer]) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        quantize_static(
            self.prepared, self.result, _Reader(self.graph.input, self._batches), quant_format=QuantFormat.QDQ,
            per_channel=True, reduce_range=not self.full_range, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[*self.graph.outside(), *(layer.node.name for layer in kept)],
            calibration_cache_path=self._folder / "ranges.json",
        )  # fmt: skip

    def _run(self, path: Path) -> npt.NDArray[np.float64]:
        from ringlight.inference.engine_onnx import open_session

        session = open_session(path, threads=self.threads)
        found = [session.run([self.graph.scores], {self.graph.input: batch})[0] for batch in self._judged]
        return centred(np.concatenate(found), self.task)


class _Reader:
    """Gives ONNX Runtime's calibration one batch after the other."""

    def __init__(self, name: str, batches: Batches) -> None:
        self._name, self._waiting = name, iter(batches)

    def get_next(self) -> dict[str, Inputs] | None:
        batch = next(self._waiting, None)
        return None if batch is None else {self._name: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger: the quantiser speaks there, of weights it takes for vectors and of its own progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
