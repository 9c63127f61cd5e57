"""INT8 of a small network, end to end: calibrated, corrected, measured, and its worst layer named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from sklearn.linear_model import LinearRegression

from ringlight.errors import DataError, ModelError
from ringlight.evaluation.score_error import centred, relative_error
from ringlight.inference.engine_onnx import open_session
from ringlight.inference.quantize import Batches, Quantized, calibration_rows, check_model_file, refuse_leak
from ringlight.inference.quantize_bias import correct_biases, dequantized, mean_inputs, mean_shift
from ringlight.inference.quantize_classifier import estimate, refit_classifier
from ringlight.inference.quantize_graph import Graph
from ringlight.inference.quantize_layers import worst_layers
from ringlight.inference.quantize_onnx import quantize_onnx
from ringlight.types import Dataset, Record
from small_onnx import batches, records, write_net


def scores(path: Path, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(path, threads=1).run(None, {"input": inputs})[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quantized]:
    folder = tmp_path_factory.mktemp("net")
    source = write_net(folder / "model.onnx")
    return source, quantize_onnx(source, folder / "int8" / "model.onnx", batches(), threads=1)


def test_a_quantised_net_scores_nearly_as_the_float_one(made: tuple[Path, Quantized]) -> None:
    source, quantized = made
    fresh = records(64, seed=9)
    first, second = (centred(scores(path, fresh), "multiclass") for path in (source, quantized.path))
    assert relative_error(first, second) < 0.05
    assert quantized.drift < 0.05
    assert (quantized.num_calibration, quantized.weight_bits, quantized.kept_float) == (32, 7, ("classifier",))
    kinds = {one.name: one.data_type for one in onnx.load(quantized.path).graph.initializer}
    assert kinds["deep.weight_quantized"] == TensorProto.INT8
    assert kinds["classifier.weight"] == TensorProto.FLOAT
    assert quantized.to_dict()["path"] == "model.onnx"


def test_weights_leave_room_for_two_products_in_sixteen_bits(made: tuple[Path, Quantized]) -> None:
    constants = {one.name: one for one in onnx.load(made[1].path).graph.initializer}
    whole = numpy_helper.to_array(constants["stem.weight_quantized"]).astype(int)
    assert np.abs(whole).max() <= 64
    assert 2 * 255 * 64 < 2**15 < 2 * 255 * 127


def test_the_mean_input_and_the_shift_of_the_bias_are_those_of_a_loop(tmp_path: Path) -> None:
    graph = Graph(write_net(tmp_path / "model.onnx"))
    means = mean_inputs(graph, batches(), threads=1)
    stem, deep = graph.layers[:2]
    assert means["input"] == pytest.approx(records().mean(axis=(0, 2, 3)), rel=1e-5)
    for layer in (stem, deep):
        error = np.random.default_rng(4).normal(0, 0.01, graph.array(layer.weight).shape)
        groups = 1 if layer is stem else 6
        wanted = np.zeros(len(error))
        for out in range(len(error)):
            for channel in range(error.shape[1]):
                taken = out // (len(error) // groups) * error.shape[1] + channel
                wanted[out] += error[out, channel].sum() * means[layer.input][taken]
        assert mean_shift(error, means[layer.input], layer) == pytest.approx(wanted)


def test_corrected_biases_bring_the_means_of_the_scores_back(tmp_path: Path) -> None:
    """Weights that were all rounded up by hand: the mean output is off by what the correction takes out."""
    source, bright = write_net(tmp_path / "model.onnx"), [np.abs(batch) for batch in batches()]
    found = quantize_onnx(source, tmp_path / "q.onnx", bright, threads=1)
    model = onnx.load(found.path)
    graph = Graph(source)
    for one in model.graph.initializer:
        if one.name == "stem.weight_quantized":
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) + np.int8(2), one.name))
    onnx.save(model, found.path)
    inputs = np.abs(records(64, seed=9))
    before = np.abs(scores(found.path, inputs).mean(axis=0) - scores(source, inputs).mean(axis=0)).max()
    assert correct_biases(graph, found.path, mean_inputs(graph, bright, threads=1)) == 3
    after = np.abs(scores(found.path, inputs).mean(axis=0) - scores(source, inputs).mean(axis=0)).max()
    assert after < before / 3
    constants = {one.name: one for one in onnx.load(found.path).graph.initializer}
    assert dequantized(constants, graph.layers[-1]) is None


def test_layers_without_biases_get_one_that_is_corrected(tmp_path: Path) -> None:
    """An exporter leaves out biases that are zero."""
    model = onnx.load(write_net(tmp_path / "model.onnx"))
    for node in model.graph.node:
        del node.input[2:]
    onnx.save(model, tmp_path / "model.onnx")
    found = quantize_onnx(tmp_path / "model.onnx", tmp_path / "q.onnx", batches(), threads=1)
    assert found.drift < 0.1
    assert {layer.name for layer in found.layers} == {"stem", "deep", "mix"}
    names = {one.name for one in onnx.load(found.path).graph.initializer}
    assert "deep.weight_zeros_quantized" in names


def test_a_net_that_quantises_badly_is_told_with_its_layer(tmp_path: Path) -> None:
    """A channel of 3,000 among channels of 1 leaves them no step of 256; `deep` is the layer that takes them."""
    source = write_net(tmp_path / "model.onnx", outlier=3000.0)
    found = quantize_onnx(source, tmp_path / "q.onnx", batches(), threads=1)
    assert found.drift > 0.15
    assert found.kept_float == ("classifier", "stem")  # the first layer was kept as well, to no avail
    assert found.layers[0].name == "deep"
    assert found.layers[0].relative > 0.2
    again = quantize_onnx(source, tmp_path / "q2.onnx", batches(), keep_float=["deep"], threads=1)
    assert again.drift < 0.15


def test_the_error_of_a_layer_is_its_own(made: tuple[Path, Quantized]) -> None:
    """Against a naive computation: exact input, rounded; quantised weights and bias; exact output."""
    source, quantized = made
    graph, inputs = Graph(source), records(8, seed=5)
    found = {one.name: one.relative for one in worst_layers(graph, quantized.path, [inputs], 1)}
    assert set(found) == {"stem", "deep", "mix"}
    constants = {one.name: one for one in onnx.load(quantized.path).graph.initializer}
    value = {name: numpy_helper.to_array(one).astype(np.float64) for name, one in constants.items()}
    mix = graph.layers[2]
    model = onnx.load(source)
    model.graph.output.append(onnx.ValueInfoProto(name="c"))
    exact = open_session(model.SerializeToString(), threads=1).run(["c"], {"input": inputs})[0].astype(np.float64)
    rounded = np.clip(np.rint(exact / value["c_scale"]) + value["c_zero_point"], 0, 255)
    rounded = (rounded - value["c_zero_point"]) * value["c_scale"]
    bias = value["mix.bias_quantized"] * value["mix.bias_quantized_scale"]
    outputs = [
        np.einsum("bihw,oi->bohw", x, w.reshape(8, 6)) + b.reshape(1, 8, 1, 1)
        for x, w, b in (
            (exact, graph.array(mix.weight), graph.array("mix.bias")),
            (rounded, dequantized(constants, mix), bias),
        )
    ]
    assert found["mix"] == pytest.approx(relative_error(*outputs), rel=0.02)


def test_the_classifier_is_fitted_to_its_noisy_features(tmp_path: Path) -> None:
    """Against scikit-learn, feature by feature; and a feature of noise alone loses its weight."""
    generator = np.random.default_rng(0)
    exact = generator.normal(0, 1, (200, 8)) + 1
    noisy = 0.8 * exact + generator.normal(0, 0.5, (200, 8))
    noisy[:, 3] = generator.normal(0, 1, 200)
    scale, offset = estimate(exact, noisy)
    for column in (0, 7):
        fitted = LinearRegression().fit(noisy[:, [column]], exact[:, column])
        assert (scale[column], offset[column]) == pytest.approx((fitted.coef_[0], fitted.intercept_))
    assert scale[3] < 0.15
    graph = Graph(write_net(tmp_path / "model.onnx"))
    refit_classifier(graph, tmp_path / "model.onnx", exact, noisy)
    again = Graph(tmp_path / "model.onnx")
    weight, bias = graph.array("classifier.weight"), graph.array("classifier.bias")
    before = (scale * noisy + offset) @ weight.T + bias
    assert noisy @ again.array("classifier.weight").T + again.array("classifier.bias") == pytest.approx(
        before, abs=1e-4
    )


def test_faults_are_told_in_one_line(tmp_path: Path) -> None:
    source = write_net(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"keep_float: expected a layer of the model, got `depe`; did you mean `deep`"):
        quantize_onnx(source, tmp_path / "q.onnx", batches(), keep_float=["depe"])
    with pytest.raises(ModelError, match=r"expected an exported model \(.onnx\), got nothing there; export it first"):
        check_model_file(tmp_path / "none.onnx", (".onnx",))
    with pytest.raises(DataError, match="calibration: expected at least one batch, got none; pass prepared training"):
        quantize_onnx(source, tmp_path / "q.onnx", [])
    with pytest.raises(
        DataError, match=r"expected batches \(B, 3, 8, 8\), got shape \(8, 3, 8, 9\); bring all records"
    ):
        list(Batches([records(8), np.zeros((8, 3, 8, 9))]))
    with pytest.raises(DataError, match="expected finite inputs, got NaN or infinity; leave the broken record out"):
        list(Batches([np.full((1, 3, 2, 2), np.nan)]))


def test_a_classifier_alone_has_nothing_to_quantise(tmp_path: Path) -> None:
    model = onnx.load(write_net(tmp_path / "model.onnx"))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in convolutions:
        node.op_type = "ConvTranspose"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(
        ModelError, match=r"expected a layer with weights \(Conv, Gemm, MatMul\) beside the classifier,"
    ):
        Graph(tmp_path / "other.onnx")


def test_an_iterator_is_kept_and_a_share_of_it_is_spread_over_the_whole() -> None:
    found = Batches(iter(batches()))
    assert (found.count(), found.count()) == (32, 32)
    assert np.concatenate(found.first(4)) == pytest.approx(records()[::8])


def labelled(labels: list[Any], **columns: list[Any]) -> Dataset:
    rows = [
        Record(id=f"r{row}", labels=label, **{key: values[row] for key, values in columns.items()})
        for row, label in enumerate(labels)
    ]
    return Dataset.from_records(rows, name="train", classes=("good", "pit"), task="multilabel")


def test_calibration_takes_the_classes_in_turn_and_the_same_records_in_any_order() -> None:
    data = labelled([[0]] * 60 + [[1]] * 3 + [[]] * 37)
    rows = calibration_rows(data, size=23)
    counts = [sum(low <= row < high for row in rows) for low, high in ((0, 60), (60, 63), (63, 100))]
    assert counts == [10, 3, 10]
    order = np.random.default_rng(0).permutation(100)
    shuffled = data.take(order)
    again = {shuffled.ids[row] for row in calibration_rows(shuffled, size=23)}
    assert again == {data.ids[row] for row in rows}
    assert calibration_rows(data, size=1000) == list(range(100))
    with pytest.raises(DataError, match="calibration: expected 1 record or more, got 0; use 300"):
        calibration_rows(data, size=0)


@pytest.mark.parametrize(("column", "what"), [("id", "record"), ("content", "file")])
def test_a_record_that_is_calibrated_on_and_judged_is_refused(column: str, what: str) -> None:
    first = labelled([[0]] * 3, content=["aa", "bb", "cc"])
    second = labelled([[1]] * 2, content=["dd", "ee"]).with_column("id", ["s0", "s1"])
    refuse_leak(first, second)
    shared = {"id": ["s0", "r1"], "content": ["dd", "bb"]}[column]
    name = {"id": "r1", "content": "bb"}[column]
    with pytest.raises(DataError, match=f"records without a common {what}, got `{name}` in both; calibrate on records"):
        refuse_leak(first, second.with_column(column, shared))
