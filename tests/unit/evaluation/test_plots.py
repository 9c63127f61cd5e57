"""Figures: what stands in them, at any number of classes, with names in any script; drawn without pyplot."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ringlight.errors import DataError
from ringlight.evaluation.metrics import Metrics, classification_metrics
from ringlight.evaluation.plots import confusion_figure, history_figure, per_class_figure, sample_figure
from ringlight.types import History


def drawn(figure: Figure) -> np.ndarray:
    """Render; warnings (a missing sign, a layout that fails) are errors in these tests."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40)
    pixels = np.asarray(Image.open(stream).convert("L"))
    assert pixels.std() > 1
    return pixels


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def multiclass(names: list[str]) -> Metrics:
    size = len(names)
    targets = np.arange(4 * size) % size
    return classification_metrics(targets, np.eye(size)[(targets + (targets == 0)) % size], names, "multiclass")


def multilabel(size: int) -> Metrics:
    targets = (np.arange(40)[:, None] % (np.arange(size) + 2) == 0).astype(int)
    targets[:, -1] = 0
    return classification_metrics(targets, 0.1 + 0.8 * targets, [f"d{k}" for k in range(size)], "multilabel")


@pytest.mark.parametrize("size", [2, 6, 20])
def test_a_matrix_shows_counts_and_shares(size: int) -> None:
    figure = confusion_figure(multiclass([f"class {k}" for k in range(size)]))
    drawn(figure)
    told = texts(figure)
    assert f"{4 * size - 4} of {4 * size} right ({1 - 1 / size:.1%})" in told
    assert ("4\n100%" if size <= 15 else "4") in told
    assert {f"class {k}" for k in range(size)} < set(told)


@pytest.mark.parametrize("size", [1, 4, 20])
def test_small_multiples_have_a_matrix_for_each_class(size: int) -> None:
    figure = confusion_figure(multilabel(size))
    drawn(figure)
    assert [axes.get_title() for axes in figure.axes] == [f"d{k}" for k in range(size)]
    assert "no example" in texts(figure)


def test_very_many_classes_still_make_a_picture_that_can_be_saved() -> None:
    """A thousand classes at full size were wider than matplotlib's limit of 65,536 pixels."""
    matrix = confusion_figure(multiclass([f"c{k}" for k in range(300)]))
    assert drawn(matrix).shape[0] < 1000
    assert "c8" in texts(matrix)
    assert "c9" not in texts(matrix)
    panels = confusion_figure(multilabel(45))
    assert len(panels.axes) == 40
    assert "predicted   (the 40 most frequent of 45 classes)" in texts(panels)
    assert "(the 40 most frequent of 45 classes)" in texts(per_class_figure(multilabel(45)))


def test_names_in_any_script_and_with_dollars_are_drawn() -> None:
    """A class `a $b$` came out as a formula, and `裂纹` warned about a missing sign on every save."""
    names = ["Einschluß", "Царапина", "裂纹", "划伤", "a $b$ c", "x" * 60]
    for figure in (confusion_figure(multiclass(names)), per_class_figure(multiclass(names))):
        drawn(figure)
        assert not any("x" * 30 in text for text in texts(figure))
    drawn(sample_figure([np.zeros((8, 8, 3), np.uint8)], ["truth: 裂纹 $x$"]))


def history(epochs: int, *columns: str) -> History:
    return History([{"epoch": epoch} | dict.fromkeys(columns, 1 / (epoch + 2)) for epoch in range(epochs)])


def test_curves_show_losses_metric_and_learning_rate() -> None:
    rows = history(5, "train/loss", "val/loss", "lr")
    for epoch, value in enumerate([0.1, 0.4, 0.7, 0.6, 0.7]):
        rows.rows[epoch]["val/macro_f1"] = value
    figure = history_figure(rows, monitor="macro_f1")
    drawn(figure)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "macro_f1", "learning rate"]
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["train", "val"]
    assert figure.axes[1].get_xlabel() == "epoch   (best: 0.700 in epoch 2)"


@pytest.mark.parametrize("epochs", [1, 40])
def test_curves_without_validation_are_drawn(epochs: int) -> None:
    figure = history_figure(history(epochs, "train/loss", "lr"), monitor=None)
    drawn(figure)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "learning rate"]


def test_one_epoch_is_marked_at_a_whole_number() -> None:
    figure = history_figure(history(1, "train/loss", "val/loss", "val/macro_f1", "lr"), monitor="macro_f1")
    drawn(figure)
    assert figure.axes[0].get_xlim() == (-0.5, 0.5)


def test_an_empty_history_is_refused() -> None:
    with pytest.raises(DataError, match="history: expected an epoch, got an empty history; train for one epoch"):
        history_figure(History(), monitor=None)


@pytest.mark.parametrize(("shape", "columns"), [((16, 100, 3), 1), ((64, 64), 4), ((64, 64, 1), 4), ((30, 70, 3), 2)])
def test_samples_stand_in_a_grid_that_fits_their_shape(shape: tuple[int, ...], columns: int) -> None:
    figure = sample_figure([np.full(shape, 90, np.uint8)] * 5, [f"truth: a\nb 0.{k}" for k in range(5)])
    drawn(figure)
    assert figure.axes[0].get_subplotspec().get_geometry()[1] == columns
    assert figure.axes[4].get_title() == "truth: a\nb 0.4"


def test_samples_keep_their_brightness() -> None:
    """Stretched to the full range, a dark strip looked like a bright one."""
    dark = drawn(sample_figure([np.full((64, 64), 30, np.uint8)], [""]))
    assert abs(int(np.median(dark)) - 30) <= 2


@pytest.mark.parametrize(("images", "titles"), [([], []), ([np.zeros((4, 4), np.uint8)], [])])
def test_samples_without_their_titles_are_refused(images: list[Any], titles: list[str]) -> None:
    with pytest.raises(DataError, match=f"expected images and a title for each, got {len(images)} images and 0 titles"):
        sample_figure(images, titles)


def test_classes_stand_by_support() -> None:
    figure = per_class_figure(multilabel(3))
    drawn(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["d0  (20)", "d1  (14)", "d2  (0)"]
    values = [line.get_xdata()[0] for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert values == [1.0, 1.0, 0.0] * 3


def test_intervals_are_whiskers_and_classes_with_too_few_parts_are_pale() -> None:
    metrics = multilabel(3)
    figure = per_class_figure(metrics, intervals={"d0": {"recall": [0.7, 0.9]}}, too_few=["d1"])
    drawn(figure)
    axes = figure.axes[0]
    assert [collection.get_segments()[0][:, 0].tolist() for collection in axes.collections] == [[0.7, 0.9]]
    assert axes.get_yticklabels()[1].get_text() == "d1  (14, too few)"
    dots = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert {line.get_alpha() for line in dots} == {0.4, 1.0}


def test_labels_stand_close_to_their_matrices() -> None:
    """A figure taller than its square cells left a gap above the word `predicted`."""
    figure = confusion_figure(multilabel(4))
    drawn(figure)
    assert "40 records" in texts(figure)
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    words = next(text for text in figure.texts if text.get_text() == "predicted").get_window_extent()
    assert lowest - words.y1 < 0.3 * figure.dpi


def test_the_parts_behind_the_records_are_counted() -> None:
    targets = np.arange(12) % 2
    metrics = classification_metrics(
        targets, np.eye(2)[targets], ["good", "bad"], "multiclass", groups=np.arange(12) // 4 * 2 + targets
    )
    assert "12 of 12 right (100.0%), 6 parts" in texts(confusion_figure(metrics))


def test_a_curve_that_does_not_move_is_not_blown_up() -> None:
    """A constant metric was drawn on an axis from 0.49999 to 0.50001, and looked like a course."""
    rows = [{"epoch": epoch, "train/loss": 0.5 + 1e-7 * (epoch % 2), "val/macro_f1": 0.0} for epoch in range(6)]
    figure = history_figure(History(rows), monitor="macro_f1")
    drawn(figure)
    assert figure.axes[0].get_ylim() == pytest.approx((0.475, 0.525), abs=1e-4)
    assert figure.axes[1].get_ylim() == (-0.05, 0.05)


def test_pyplot_is_not_needed() -> None:
    """Its global list of figures would keep every epoch's picture alive, and needs the main thread."""
    script = (
        "import sys, numpy as np\n"
        "from ringlight.evaluation.plots import sample_figure\n"
        "sample_figure([np.zeros((8, 8), np.uint8)], ['a']).canvas.draw()\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    import subprocess

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_phases_are_drawn_apart_and_the_best_epoch_is_one_of_the_last() -> None:
    """A warm start whose neighbours were all right once was told as the best epoch of a student that was never good."""
    rows = [
        {"epoch": epoch, "phase": epoch // 2, "train/loss": 1.0, "val/macro_f1": score}
        for epoch, score in enumerate((1.0, 0.9, 0.2, 0.4))
    ]
    axes = history_figure(History(rows), monitor="macro_f1").axes
    curves = [line for line in axes[1].get_lines() if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in curves] == [[0, 1], [2, 3]]
    assert "best: 0.400 in epoch 3" in axes[1].get_xlabel()
