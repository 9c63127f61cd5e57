"""Where a training reports to: TensorBoard, several trackers at once, or nowhere. One that fails never ends a run.

Which trackers a run has, `training/tracking.py` says; the others are in `trackers_csv.py` and `trackers_mlflow.py`.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ringlight.errors import redacted
from ringlight.runtime import LOGGER
from ringlight.types import Signal, Tracker


class EndTraining(Exception):  # noqa: N818 - no error: there is nothing to mend
    """Raised by what is told of an epoch: the training ends there, as soon as its checkpoint is whole."""


class QuietTracker:
    """Keeps nothing: for a bare learner in a notebook."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Ignore."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Ignore."""

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Ignore."""

    def log_artifact(self, path: Path) -> None:
        """Ignore."""

    def set_status(self, status: str) -> None:
        """Ignore."""


class QuietControl:
    """Never stops a run."""

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:  # noqa: ARG002 - the protocol's argument
        """Let it go on."""
        return "go"


class TensorBoardTracker(QuietTracker):
    """Writes TensorBoard event files into `folder`: scalars, figures, hyper-parameters with the final metrics."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        self._params: dict[str, Any] = {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Remember the hyper-parameters until the final metrics are known."""
        self._params = {
            key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in params.items()
        }

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write scalars; metrics named `final/...` close the hyper-parameter table."""
        final = {name: value for name, value in metrics.items() if name.startswith("final/")}
        for name, value in metrics.items():
            if name not in final:
                self._writer.add_scalar(name, value, step)
        if final:
            self._writer.add_hparams(self._params, final, run_name="hparams")
        self._writer.flush()

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Write a matplotlib figure, or a picture that was drawn already (PNG bytes), as an image."""
        self._writer.add_image(name, _pixels(figure), step, dataformats="HWC")

    def set_status(self, status: str) -> None:
        """Write the status, and close the file when the run has ended."""
        self._writer.add_text("status", status)
        if status != "running":
            self._writer.close()


def png_of(figure: Any) -> bytes:
    """Return a matplotlib figure as a PNG; what was drawn already (PNG bytes) as it is."""
    if isinstance(figure, bytes):
        return figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(drawn)
    return drawn.getvalue()


def _pixels(figure: Any) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png_of(figure))).convert("RGB"))


def first_line(error: Exception) -> str:
    """Return what a library's error says first, without passwords.

    Examples:
        >>> first_line(ValueError("no answer\\n\\nand so on")), first_line(TimeoutError())
        ('no answer', 'TimeoutError')
    """
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return redacted(" ".join(said.split()))


def tell_failure(what: str, error: Exception) -> None:
    """Warn in a line that a tracker is left out, and keep the whole story for the log; neither shows a password."""
    LOGGER.warning("%s and is left out: %s", what, first_line(error))
    LOGGER.debug("tracker failure:\n%s", redacted("".join(traceback.format_exception(error))))


class Trackers:
    """Several trackers as one; one that raises is reported once and left out from then on."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            # A tracker is somebody's server or disk: whatever it raises, the training goes on (logged with the reason).
            except Exception as error:  # noqa: BLE001
                self._trackers.remove(tracker)
                tell_failure(f"tracker {type(tracker).__name__} failed", error)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Pass on."""
        self._each(lambda tracker: tracker.log_params(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Pass on."""
        self._each(lambda tracker: tracker.log_metrics(metrics, step))

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Pass on."""
        self._each(lambda tracker: tracker.log_figure(name, figure, step))

    def log_artifact(self, path: Path) -> None:
        """Pass on."""
        self._each(lambda tracker: tracker.log_artifact(path))

    def set_status(self, status: str) -> None:
        """Pass on."""
        self._each(lambda tracker: tracker.set_status(status))


HANDED_OVER = ("config.yaml", "results.json", "report.html", "history.csv", "split.csv")
"""The files of a finished run that trackers keep."""


def hand_over(tracker: Tracker, folder: Path) -> None:
    """Give a tracker the files of the finished run in `folder`."""
    for path in (folder / name for name in HANDED_OVER):
        if path.is_file():
            tracker.log_artifact(path)
