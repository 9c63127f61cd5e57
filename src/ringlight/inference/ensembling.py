"""One model, or several that vote, asked as one: every member prepares the record for itself, and the mean decides.

Shapes: B batch, K classes, M members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, RunError
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider, Result
from ringlight.inference.predictor import IMAGES_AT_ONCE, WINDOWS_AT_ONCE, Predictor
from ringlight.inference.tta import mean_scores
from ringlight.types import Task

Inputs = tuple[npt.NDArray[np.float32], ...]
"""A record as each member takes it."""


class Scorer:
    """Loaded models by their names. One decides as it was saved; of several the calibrated scores are averaged.

    A mean is decided by the default rule (the best class, or 0.5 for every label), as no threshold was fixed for it,
    and has no reject option and no open-set rule.

    Raises:
        RunError: members that know other classes than the first, or that take another kind of record.
    """

    def __init__(self, members: Mapping[str, Predictor]) -> None:
        self.names = tuple(members)
        self.members = tuple(members.values())
        self.first = self.members[0]
        known = [(name, one.task, one.classes) for name, one in members.items()]
        require_same_classes(known)
        for name, one in members.items():
            _require_same_records(self.names[0], self.first.bundle, name, one.bundle)
        bundle = self.first.bundle
        bare = Bundle(
            architecture={}, task=bundle.task, classes=bundle.classes, input_spec=bundle.input_spec,
            good_class=bundle.good_class,
        )  # fmt: skip
        self.decider = self.first.decider if len(self.members) == 1 else Decider(bare)

    @property
    def takes_windows(self) -> bool:
        """Whether records are windows of a signal."""
        return isinstance(self.first.bundle.input_spec, WindowSpec)

    @property
    def batch_size(self) -> int:
        """How many records go through the models together unless the caller says otherwise."""
        return WINDOWS_AT_ONCE if self.takes_windows else IMAGES_AT_ONCE

    def prepare(self, source: Any) -> Inputs:
        """Return an image, or a window (T, C), as each member takes it.

        Raises:
            DataError: it cannot be read, or no member could take it.
        """
        return tuple(member.prepared(source) for member in self.members)

    def score(self, inputs: Sequence[Inputs], ids: Sequence[str]) -> Result:
        """Return what is decided of B prepared records, whose inputs have one shape a member."""
        stacked = [np.stack([one[place] for one in inputs]) for place in range(len(self.members))]
        results = [member.predict_prepared(some, ids) for member, some in zip(self.members, stacked, strict=True)]
        if len(results) == 1:
            return results[0]
        scores = [
            member.decider.calibrator.apply(result.prediction.logits)[:, self._order(member)]
            for member, result in zip(self.members, results, strict=True)
        ]
        return self.decider.decide(
            ids, mean_scores(np.stack(scores).astype(np.float32), self.first.task, "probability")
        )

    def _order(self, member: Predictor) -> list[int]:
        """Return where a member has the classes of the first one."""
        return [member.classes.index(name) for name in self.first.classes]


def require_same_classes(members: Sequence[tuple[str, Task, Sequence[str]]]) -> None:
    """Check that models, each with its name, task and classes, can be averaged; the order of classes may differ.

    Raises:
        RunError: one differs from the first; the message names what it lacks and what it has beyond.
    """
    first, task, classes = members[0]
    for name, other_task, others in members[1:]:
        if other_task == task and set(others) == set(classes):
            continue
        lost = [one for one in classes if one not in others]
        more = [one for one in others if one not in classes]
        told = [f"without {', '.join(lost)}"] if lost else []
        told += [f"with {', '.join(more)}"] if more else []
        raise RunError(
            f"the classes of {first} ({task}: {', '.join(classes)})",
            got=f"{other_task}: {', '.join(others)}" + (f" ({' and '.join(told)})" if told else ""),
            where=name,
            fix="only runs with the same classes can be averaged",
        )


def _require_same_records(first: str, here: Bundle, name: str, there: Bundle) -> None:
    def told(spec: Any) -> str:
        if not isinstance(spec, WindowSpec):
            return "images"
        return f"windows of {spec.length} samples of {', '.join(spec.channels)}"

    if told(here.input_spec) != told(there.input_spec):
        raise RunError(
            f"a model of {told(here.input_spec)}, as {first}", got=told(there.input_spec), where=name,
            fix="only models of the same records can be averaged",
        )  # fmt: skip


def in_views(predictor: Predictor, runs: int) -> None:
    """Let a model judge every image in so many views, whatever it was saved with.

    Raises:
        DataError: the model takes windows, which have one view.
    """
    from dataclasses import replace

    if isinstance(predictor.bundle.input_spec, WindowSpec):
        raise DataError(
            "a model of images", got="one of windows, which have a single view", where="--tta", fix="leave it out"
        )
    predictor.tta = replace(predictor.tta, runs=runs)
