"""A model of another run that takes part in this one: what it was trained on must not judge here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.data.faults import first_of
from ringlight.data.split import SavedSplit, read_split
from ringlight.errors import RunError
from ringlight.training.evaluate import overlap

if TYPE_CHECKING:
    from ringlight.training.plan import Plan


def check_unseen(plan: Plan, run: Path, where: str, *, who: str) -> bool:
    """Refuse a run that was trained on records that validate or judge this plan, or tuned on those that judge it.

    The strangers of `split.held_out_class` judge, too: what has seen them does not show what it does with strangers.

    Args:
        plan: this run's.
        run: folder of the other run, of its bundle, or of one of its phases.
        where: the key that named it.
        who: what it is to this one, with a no before it: `no member`.

    Returns:
        Whether it is known what the other run was trained on.

    Raises:
        RunError: it was trained on such records.
    """
    saved = saved_split(run)
    if saved is None:
        return False
    for part, unseen in (("train", ("val", "test")), ("val", ("test",))):
        known = {saved.contents[key]: key for key, of in saved.parts.items() if of == part and key in saved.contents}
        for name in unseen:
            seen = overlap(plan.part(name), known)
            if seen:
                raise RunError(
                    f"records of the {name} part that {who} was trained or tuned on", got=first_of(seen),
                    where=where, fix="train all on one split (split.file=RUN/split.csv)",
                )  # fmt: skip
        seen = [] if plan.unknown is None else overlap(plan.unknown, known)
        if seen:
            raise RunError(
                f"records of the class that is held out that {who} was trained or tuned on", got=first_of(seen),
                where=where, fix="train all with the same split.held_out_class",
            )  # fmt: skip
    return True


def saved_split(run: Path) -> SavedSplit | None:
    """Return the split of a run by its folder, or a folder within; None for a bundle that stands alone."""
    for folder in (run, run.parent, run.parent.parent):
        if (folder / "split.csv").is_file():
            return read_split(folder / "split.csv")
    return None
