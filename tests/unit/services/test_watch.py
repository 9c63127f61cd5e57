"""Watching from the command line's side: files, results that were written before, a server's numbers, labels."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, UserError
from ringlight.files import write_csv
from ringlight.inference.bundle import Bundle
from ringlight.inference.predictor import Predictor
from ringlight.inference.watch_reference import WatchReference, measure
from ringlight.services import watch, watch_server
from ringlight.services.watch import take_reference, watch_model

CLASSES = ("dark", "bright")
SPEC = InputSpec(in_chans=1, image_size=(8, 8), mean=(0.5,), std=(0.25,))


class Brightness(torch.nn.Module):
    """Logits that grow with the mean of an image or a window."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        mean = inputs.flatten(1).mean(1)
        return torch.stack([-2 * mean, 2 * mean], dim=1)


def loaded(spec: Any = SPEC) -> Predictor:
    bundle = Bundle(architecture={}, task="multiclass", classes=CLASSES, input_spec=spec, reject_threshold=0.6)
    predictor = Predictor(bundle, Brightness(), device="cpu")
    rng = np.random.default_rng(0)
    shape = (300, 1, 8, 8) if spec is SPEC else (300, len(spec.channels), spec.length)
    inputs = (rng.normal(0, 0.6, (300, *[1] * (len(shape) - 1))) + rng.normal(0, 0.2, shape)).astype(np.float32)
    result = predictor.predict_prepared(inputs, [f"reference {row}" for row in range(300)])
    channels = None if spec is SPEC else spec.channels
    reference = WatchReference.of([(measure(result, inputs, channels), None)])
    assert reference is not None
    return Predictor(replace(bundle, watch=reference.to_dict()), Brightness(), device="cpu")


@pytest.fixture(scope="module")
def model() -> Predictor:
    return loaded()


@pytest.fixture(autouse=True)
def _found(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "load_model", lambda name, workspace: model)  # noqa: ARG005


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, make_image: Any) -> Path:
    folder = tmp_path_factory.mktemp("line")
    for row, level in enumerate(np.random.default_rng(1).normal(128, 38, 60).clip(0, 255)):
        make_image(folder / f"{row:03d}.png", size=(8, 8), mode="L", brightness=float(level), seed=row)
    return folder


def test_images_pass_in_order_and_a_corrupt_one_is_left_out(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, "ringlight"):
        found = watch_model("strip@3", [images, tmp_path / "broken.png"])
    assert (found.status.records, found.status.model, found.status.alarms) == (60, "strip@3", ())
    assert {one.name for one in found.status.quantities if one.num_recent} >= {
        "input/brightness",
        "rate/dark",
        "rejected",
    }
    assert "left out: " in caplog.text
    with pytest.raises(DataError, match="ringlight watch: expected an image that can be read, got none; name images"):
        watch_model("strip@3", [tmp_path / "broken.png"])


def test_labels_that_come_the_next_day_find_the_state(images: Path, tmp_path: Path) -> None:
    watch_model("strip@3", [images], state=tmp_path / "state")
    rows = [{"id": str(path), "label": "bright"} for path in sorted(images.iterdir())]
    write_csv(tmp_path / "labels.csv", [*rows, {"id": "stranger", "label": "dark"}])
    found = watch_model("strip@3", labels=tmp_path / "labels.csv", state=tmp_path / "state")
    assert (found.status.records, found.confirmed, found.unmatched) == (60, 60, 1)
    assert found.status.faults[0].confirmed > 40
    write_csv(tmp_path / "wrong.csv", [{"name": "a", "label": "dark"}])
    with pytest.raises(DataError, match=r"wrong\.csv: expected the column `id` \(--labels\), got columns name, label"):
        watch_model("strip@3", labels=tmp_path / "wrong.csv")


def test_uncertain_images_are_kept(images: Path, tmp_path: Path) -> None:
    found = watch_model("strip@3", [images], samples=tmp_path / "label")
    assert 0 < found.kept < 60
    assert len(list((tmp_path / "label").glob("*.png"))) == found.kept


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_results_that_were_written_are_watched(model: Predictor, tmp_path: Path, suffix: str) -> None:
    inputs = np.random.default_rng(2).normal(0, 0.6, (80, 1, 8, 8)).astype(np.float32)
    result = model.predict_prepared(inputs, [f"part {row}" for row in range(80)])
    rows = [*result.rows(), {"id": "broken", "error": "no picture"}]
    path = tmp_path / f"results{suffix}"
    if suffix == ".csv":
        write_csv(path, rows)
    elif suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    found = watch_model("strip@3", results=path)
    told = {one.name: one for one in found.status.quantities}
    assert found.status.records == 80
    assert told["rate/dark"].recent == pytest.approx(result.decisions[:, 0].mean())
    assert told["rejected"].recent == pytest.approx(np.asarray(result.rejected).mean())
    assert told["score/dark"].recent == pytest.approx(result.probabilities[:, 0].mean(), abs=1e-3)
    assert told["ood/energy"].num_recent == told["input/brightness"].num_recent == 0


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "r.csv",
            "id,labels,dark\na,dark,1\n",
            "expected a column for each class: dark, bright, got no column `bright`",
        ),
        ("r.csv", "id,labels,dark,bright\na,dark,x,1\n", "expected probabilities, got could not convert string"),
        ("r.csv", "id,labels,dark,bright\na,dark,2,1\n", "expected probabilities from 0 to 1, got others"),
        ("r.jsonl", "[1]\n", "line 1: expected one object a line, got [1]; name what `ringlight predict MODEL --out"),
        ("r.jsonl", "{\n", "expected JSON lines, got JSONDecodeError: "),
        ("r.jsonl", "", "expected a column for each class: dark, bright, got no row"),
    ],
)
def test_results_that_cannot_be_used_are_told_in_a_line(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as told:
        watch_model("strip@3", results=tmp_path / name)
    assert line in str(told.value)


def test_a_reference_is_taken_from_good_production_and_used(images: Path, tmp_path: Path) -> None:
    found = take_reference("strip@3", [images], tmp_path / "reference.json")
    assert {one.num_records for one in found.quantities} == {60}
    told = watch_model("strip@3", [images], reference=tmp_path / "reference.json").status
    assert told.records == 60
    assert all(one.psi == pytest.approx(0, abs=1e-6) for one in told.quantities if one.psi is not None)
    with pytest.raises(DataError, match="--take-reference: expected 50 records or more, got 1; take it from more"):
        take_reference("strip@3", [next(images.iterdir())], tmp_path / "few.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken\.json: expected a reference as JSON, got JSONDecodeError"):
        watch_model("strip@3", [images], reference=tmp_path / "broken.json")


def test_windows_are_watched_by_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = WindowSpec(length=32, channels=("flow", "pressure"), normalize="none")
    windows = loaded(spec)
    monkeypatch.setattr(watch, "load_model", lambda name, workspace: windows)  # noqa: ARG005
    X = np.random.default_rng(3).normal(0, 0.3, (70, 32, 2)).astype(np.float32)  # noqa: N806
    np.savez(tmp_path / "new.npz", X=X)
    status = watch_model("rig@1", [tmp_path / "new.npz"], workspace=tmp_path / "ws").status
    assert status.records == 70
    assert {"input/mean flow", "input/peak pressure"} <= {one.name for one in status.quantities if one.num_recent == 70}


def test_a_servers_numbers_are_read_back(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class names may hold anything: quotes and backslashes are escaped on a metrics page."""
    status = replace(watch_model("strip@3", [images]).status, started="")
    odd = replace(status, quantities=(replace(status.quantities[0], name='rate/a "b" \\n'),))
    page = "# HELP ringlight_watch What the watch says\nringlight_requests_total 5.0\n"
    for model, one in (("strip", status), ('odd "x"', odd)):
        for name, value in one.numbers().items():
            labels = [text.replace("\\", "\\\\").replace('"', '\\"') for text in (model, name)]
            page += f'ringlight_watch{{model="{labels[0]}",name="{labels[1]}"}} {value}\n'
    found = {one.model: one for one in watch_server.statuses_of(page)}
    assert found["strip"].quantities == status.quantities
    assert found['odd "x"'].quantities[0].name == odd.quantities[0].name
    asked = []

    class Answer:
        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def read(self, most: int) -> bytes:
            return page.encode()[:most]

    def open_address(address: str, timeout: float) -> Answer:
        asked.append((address, timeout))
        return Answer()

    monkeypatch.setattr("urllib.request.urlopen", open_address)
    assert len(watch_server.watch_server("http://127.0.0.1:8000/")) == 2
    assert asked == [("http://127.0.0.1:8000/metrics", 5.0)]
    page = "up 1.0\n"
    with pytest.raises(UserError, match="metrics: expected a server whose models are watched, got no watch; serve a"):
        watch_server.watch_server("http://127.0.0.1:8000")


def test_an_address_that_is_none_and_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"--url: expected an address such as http://127\.0\.0\.1:8000, got `file:///etc/x`"
    ):
        watch_server.watch_server("file:///etc/x")

    def away(address: str, timeout: float) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr("urllib.request.urlopen", away)
    with pytest.raises(
        UserError, match="expected an answer from http://h:1/metrics, got connection refused; check that"
    ):
        watch_server.watch_server("http://h:1")
