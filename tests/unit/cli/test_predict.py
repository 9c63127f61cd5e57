"""`ringlight predict`: rows on the terminal or in a file, errors as rows, gone on with, a folder followed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ringlight.cli import predict_progress
from ringlight.cli.main import main
from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.inference.bundle import Bundle, write_bundle
from ringlight.models import build_model, build_sequence_model
from ringlight.services import prediction_explain, prediction_watch
from ringlight.services.two_file_models import ask_two_files

CLASSES = ("good", "crack", "pore")
NAME = "test_efficientnet"
Say = Callable[..., tuple[int, str, str]]


def save(folder: Path, seed: int, classes: Sequence[str] = CLASSES, **changes: Any) -> Path:
    torch.manual_seed(seed)
    built = build_model(NAME, num_classes=len(classes), pretrained=False)
    safe = OperatingPoint(
        name="safe", kind="recall_at_least", task="multiclass", classes=tuple(classes), rule="gate", label=classes[1],
        thresholds=tuple(0.0 if name == classes[1] else None for name in classes),
    )  # fmt: skip
    made: dict[str, Any] = {
        "architecture": {"name": NAME, "in_chans": 3, "drop_rate": 0.0, "params": {}}, "task": "multiclass",
        "classes": tuple(classes), "input_spec": InputSpec(3, (32, 32), mean=built.mean, std=built.std),
        "good_class": "good", "operating_points": {"safe": safe.to_dict()}, **changes,
    }  # fmt: skip
    write_bundle(folder, Bundle(**made), built.module)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models `a` and `b`, and one of other classes, `other`."""
    root = tmp_path_factory.mktemp("models")
    save(root / "a", 0)
    save(root / "b", 1)
    save(root / "other", 2, classes=("good", "dent"))
    torch.manual_seed(0)
    spec = WindowSpec(("p", "q"), 16, normalize="none")
    bundle = Bundle(
        architecture={"name": "cnn1d", "in_chans": 2, "drop_rate": 0.0, "params": {"filters": [4, 4]}},
        task="multiclass", classes=("ok", "leak"), input_spec=spec,
    )  # fmt: skip
    module = build_sequence_model(
        "cnn1d", num_classes=2, in_chans=2, length=16, params={"filters": [4, 4]}
    ).module  # fmt: skip
    write_bundle(root / "windows", bundle, module)
    return root


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three pictures, the working folder beside it."""
    folder = tmp_path / "parts"
    (folder / "deep").mkdir(parents=True)
    for place, name in enumerate(("a.png", "b.png", "deep/c.png")):
        draw(folder / name, place)
    monkeypatch.chdir(tmp_path)
    return folder


def draw(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)).save(path)


@pytest.fixture
def say(own_logging: None, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run `ringlight predict` and return its exit code and what it printed."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["predict", *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_table_and_json_tell_labels_verdict_and_probabilities(say: Say, models: Path, parts: Path) -> None:
    code, table, _ = say(models / "a", "parts")
    assert code == 0
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["id", "labels", "verdict", *CLASSES]
    assert [line[0] for line in lines[1:]] == ["parts/a.png", "parts/b.png", "parts/deep/c.png"]
    code, text, _ = say(models / "a", "parts/a.png", "parts/*.png", "--json")
    rows = json.loads(text)
    assert [row["id"] for row in rows] == ["parts/a.png", "parts/a.png", "parts/b.png"]
    assert rows[0]["verdict"] == ("ok" if rows[0]["labels"] == "good" else "defect")
    assert say(models / "a", "parts", "--no-recursive", "--json")[1].count('"id"') == 2


def test_what_cannot_be_read_is_a_row_and_ends_with_3(say: Say, models: Path, parts: Path) -> None:
    (parts / "b.png").write_bytes(b"\x89PNG")
    code, _, errors = say(models / "a", "parts", "--out", "r.csv")
    assert code == 3
    assert errors.startswith("1 could not be judged, the first: parts/b.png: expected ")
    first, second, third = rows_of(Path("r.csv"))
    assert list(first) == ["id", "labels", "verdict", *CLASSES, "error"]
    assert (first["error"], third["error"]) == ("", "")
    assert second["error"].startswith("parts/b.png: expected ")
    assert (second["labels"], second["verdict"], second["crack"]) == ("", "", "")
    table = say(models / "a", "parts")[1].splitlines()
    assert table[0].split()[-1] == "error"
    assert say(models / "a", "parts", "--out", "r.csv", "--resume")[0] == 3, "the error is in the file still"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_file_is_gone_on_with_where_it_was_cut_off(say: Say, models: Path, parts: Path, kind: str) -> None:
    out = Path(f"r.{kind}")
    assert say(models / "a", "parts/a.png", "--out", out)[0] == 0
    code, summary, _ = say(models / "a", "parts", "--out", out, "--resume", "--json")
    found = json.loads(summary)
    assert (code, found["judged"], found["skipped"], found["out"]) == (0, 2, 1, str(out))
    code, text, _ = say(models / "a", "parts", "--out", out, "--resume")
    assert text == f"0 judged, 3 before; {out}\n"
    code, _, error = say(models / "b", "parts", "--out", out, "--resume")
    assert code == 2
    assert error.startswith(f"--resume r.{kind}: expected checksum ['")
    code, _, error = say(models / "a", "parts", "--out", out, "--resume", "--operating-point", "safe")
    assert f"--resume r.{kind}: expected operating_point default, as the file was begun, got safe" in error


def test_points_views_and_ensembles(say: Say, models: Path, parts: Path) -> None:
    def labels(*words: object) -> list[str]:
        code, text, _ = say(*words, "parts", "--json")
        assert code == 0
        return [row["labels"] for row in json.loads(text)]

    assert labels(models / "a", "--operating-point", "safe") == ["crack"] * 3
    single = json.loads(say(models / "a", "parts", "--json")[1])
    views = json.loads(say(models / "a", "parts", "--tta", "4", "--json")[1])
    assert [row["crack"] for row in single] != [row["crack"] for row in views]
    other = json.loads(say(models / "b", "parts", "--json")[1])
    both = json.loads(say(models / "a", "parts", "--ensemble", models / "b", "--json")[1])
    mean = [(one["crack"] + two["crack"]) / 2 for one, two in zip(single, other, strict=True)]
    np.testing.assert_allclose([row["crack"] for row in both], mean, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "ringlight predict: expected a model and what to score, got neither; write ringlight predict MODEL PATH"),
        (("{a}",), "expected at least one image, folder or file of windows, got none; name it behind the model"),
        (("{a}", "empty"), "empty: expected at least one image, got none; name images, or a folder that has some"),
        (("{a}", "gone.png"), "gone.png: expected images, a folder or a pattern, got no such file; check the path"),
        (("gone", "parts"), "expected a run folder, or the beginning of the name of one run, got `gone`"),
        (("{a}", "parts", "--operating-point", "save"), "expected an operating point of the model, got `save`; did "
                                                        "you mean `safe`?"),
        (("{a}", "parts", "--threshold", "2"), "threshold: expected a number in (0, 1), got 2.0; use 0.5"),
        (("{a}", "parts", "--resume"), "expected --resume with --out FILE, got no file; name the file that was begun"),
        (("{a}", "parts", "--out", "r.txt"), "--out: expected a file .csv, .jsonl or .parquet, got `r.txt`"),
        (("{a}", "parts", "--ensemble", "{other}"), "other: expected the classes of a (multiclass: good, crack, pore), "
                                                    "got multiclass: good, dent (without crack, pore and with dent)"),
        (("{a}", "parts", "--ensemble", "{a}"), "--ensemble: expected every model once, got `"),
        (("{a}", "parts", "--ensemble", "{b}", "--threshold", "0.4"), "expected --ensemble without --operating-point"),
        (("{a}", "parts", "--watch", "--explain", "x", "--ensemble", "{b}"), "--explain: expected one model to"),
        (("{a}", "parts/a.png", "--watch"), "parts/a.png: expected a folder to watch, got a file; name a folder, or"),
        (("{a}", "w.npz"), "w.npz: expected images, as the model takes them, got windows of a signal"),
        (("{windows}", "parts/a.png"), "expected windows of a signal, as the model takes them, got an image"),
        (("{windows}", "w.npz"), "expected windows of 16 samples, got 9 samples"),
        (("{windows}", "v.npz"), "expected the channels p, q, got without `p`, `q`"),
        (("{windows}", "t.npz"), "`X`: expected numbers, got type <U1; save the windows as float32"),
        (("{windows}", "w.npz", "--tta", "2"), "--tta: expected a model of images, got one of windows"),
        (("parts", "--backbone_path", "x.pth"), "expected --backbone_path and --head_path, got one of them; a model"),
        (("parts", "--classes", "a,b"), "expected --backbone_path and --head_path, got neither; a model needs both"),
        (("parts", "--backbone_path", "x.pth", "--head_path", "y.pth"), "x.pth: expected a file of weights, got"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(say: Say, models: Path, parts: Path, words: tuple[str, ...], line: str) -> None:
    (parts.parent / "empty").mkdir()
    np.savez("w.npz", X=np.zeros((2, 9, 2), np.float32), channels=["p", "q"])
    np.savez("v.npz", X=np.zeros((2, 16, 1), np.float32), channels=["r"])
    np.savez("t.npz", X=np.full((2, 16, 2), "a"))
    given = [word.format(**{name: models / name for name in ("a", "b", "other", "windows")}) for word in words]
    code, out, error = say(*given, "--workspace", parts.parent / "ws")
    assert (code, out) == (2, "")
    assert line in error
    assert error.count("\n") == 1


def test_windows_of_files_are_rows_and_nan_is_an_error_of_its_window(say: Say, models: Path, parts: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 16, 2)).astype(np.float32)
    np.savez("one.npz", X=values, channels=["p", "q"])
    values[2, 3, 1] = np.nan
    np.savez("two.npz", X=values.astype(np.float64), channels=["p", "q"])
    code, text, error = say(models / "windows", "one.npz", "two.npz", "--json", "--workspace", "ws")
    rows = json.loads(text)
    assert code == 3
    assert [row["id"] for row in rows][::4] == ["one.npz#0", "two.npz#0"]
    assert [row["id"] for row in rows if "error" in row] == ["two.npz#2"]
    assert "expected finite values, got NaN" in rows[6]["error"]
    assert [row["verdict"] for row in rows[:2]] == [None, None], "nothing says which class is good"
    assert "1 could not be judged, the first: " in error


def test_a_list_comes_from_standard_input(say: Say, models: Path, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"parts/a.png\ngone.png\nparts/deep\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    code, text, _ = say(models / "a", "-", "--json")
    assert code == 3
    assert [row["id"] for row in json.loads(text)] == ["parts/a.png", "gone.png", "parts/deep/c.png"]


def test_the_seeds_flags_take_two_files(say: Say, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = build_model(NAME, num_classes=3, pretrained=False).module.state_dict()
    Path("snapshots/head").mkdir(parents=True)
    backbone, head = Path("snapshots/s_30.pth"), Path("snapshots/head/s_30.pth")
    torch.save({name: one for name, one in state.items() if not name.startswith("classifier.")}, backbone)
    torch.save({name: one for name, one in state.items() if name.startswith("classifier.")}, head)
    explained: list[Path] = []
    monkeypatch.setattr(
        prediction_explain, "explaining", lambda _asked, folder: lambda _batch: explained.append(folder)
    )
    words = ("--image_dir", "parts", "--backbone_path", backbone, "--head_path", head, "--gradcam_dir", "cams")
    code, _, error = say(*words)
    assert code == 2
    assert "expected the architecture and the classes of the model, got weights, which do not say" in error
    code, text, _ = say(*words, "--architecture", NAME, "--classes", "good,crack,pore", "--image-size", "32", "--json")
    assert (code, explained) == (0, [Path("cams")])
    rows = json.loads(text)
    asked = ask_two_files(backbone, head, architecture=NAME, classes="good,crack,pore", image_size=32)
    inputs = [asked.scorer.prepare(parts / name) for name in ("a.png", "b.png", "deep/c.png")]
    expected = asked.scorer.score(inputs, ["a", "b", "c"]).probabilities
    np.testing.assert_allclose([[row[name] for name in CLASSES] for row in rows], expected, atol=1e-6)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, signal.SIGTERM])
def test_a_watched_folder_is_judged_until_it_is_ended(
    say: Say, models: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, ending: Any
) -> None:
    waits = 0

    def pause(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            draw(parts / "d.png", 9)
        if waits == 4:
            if ending is KeyboardInterrupt:
                raise KeyboardInterrupt
            os.kill(os.getpid(), ending)

    # Not for the whole process: another thread that waits would end it.
    monkeypatch.setattr(prediction_watch, "time", SimpleNamespace(sleep=pause))
    former = signal.getsignal(signal.SIGTERM)
    code, text, _ = say(models / "a", "parts", "--watch", "--out", "r.csv")
    assert (code, signal.getsignal(signal.SIGTERM)) == (0, former)
    names = ["parts/a.png", "parts/b.png", "parts/deep/c.png", "parts/d.png"]
    assert [row["id"] for row in rows_of(Path("r.csv"))] == names
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == names
    assert lines[-1].startswith("4 judged: ")
    waits = 3
    assert say(models / "a", "parts", "--watch", "--out", "r.csv", "--resume")[1].startswith("0 judged")


def test_ctrl_c_leaves_a_file_that_goes_on(
    say: Say, models: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringlight.services import predictions

    real = predictions.judged

    def interrupted(*words: Any, **options: Any) -> Any:
        yield from real(*words, **{**options, "batch_size": 1, "readers": 0})
        raise KeyboardInterrupt

    monkeypatch.setattr(predictions, "judged", interrupted)
    code, _, error = say(models / "a", "parts/a.png", "--out", "r.parquet")
    assert code == 130
    assert error == (
        "ringlight predict: expected every record judged, got Ctrl-C after 1; go on with --out r.parquet --resume\n"
    )
    monkeypatch.setattr(predictions, "judged", real)
    assert json.loads(say(models / "a", "parts", "--out", "r.parquet", "--resume", "--json")[1])["skipped"] == 1


def test_without_a_terminal_a_line_comes_now_and_then(
    say: Say, models: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say(models / "a", "parts")[2] == ""
    monkeypatch.setattr(predict_progress, "EVERY", 0.0)
    error = say(models / "a", "parts", "--batch-size", "2")[2].splitlines()
    assert len(error) == 2
    assert error[0].startswith("2 of 3 (67%) images predicted, ")
    assert " images/s, ETA 0:00:0" in error[0]


def test_on_a_terminal_there_is_a_bar(say: Say, models: Path, parts: Path, open_terminal: Callable[[], Any]) -> None:
    terminal = open_terminal()
    say(models / "a", "parts", "--batch-size", "1")
    drawn = terminal.getvalue()
    assert "predicting" in drawn
    assert "images/s" in drawn
    assert "ETA" in drawn
