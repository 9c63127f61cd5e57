"""Run a finished run again, from what it left: its configuration, its split and its data; and compare the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ringlight.config.load import read_config
from ringlight.errors import RunError
from ringlight.runtime import choose_device
from ringlight.services import crossval, runs
from ringlight.services.history import home_of
from ringlight.services.reproduced import Difference, compare_folders
from ringlight.services.run_deletion import delete, plan_deletion
from ringlight.services.run_details import folder_and_kind
from ringlight.services.standing import read_manifest
from ringlight.services.stores import open_store
from ringlight.training.imbalance_choice import Choice
from ringlight.training.results_file import load_results
from ringlight.types import RunControl, Tracker

PROMISED = "identical"
"""What the `reproducibility` of a manifest says where it promises the same bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A run, what came of running it again, and how far the two differ.

    `reasons` say why identical numbers were not promised; none where they were.
    """

    run: str
    again: str
    folder: Path | None
    """Of the new run; None where it was the same and nobody wanted to keep it."""
    differences: Sequence[Difference]
    reasons: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Whether weights, predictions, history and scores are the same to the bit."""
        return not any(one.differs for one in self.differences)

    @property
    def is_broken(self) -> bool:
        """Whether identical numbers were promised and others came."""
        return not self.is_identical and not self.reasons

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        if self.is_identical:
            return "the same bits: weights, predictions, history and scores"
        told = "; ".join(str(one) for one in self.differences if one.differs)
        if self.reasons:
            return f"not the same bits, which was not promised ({'; '.join(self.reasons)}): {told}"
        return f"the promise of identical numbers is broken: {told}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "run": self.run, "again": self.again, "folder": None if self.folder is None else str(self.folder),
            "identical": self.is_identical, "broken": self.is_broken, "verdict": self.verdict,
            "reasons": list(self.reasons), "differences": [one.to_dict() for one in self.differences],
        }  # fmt: skip


def reproduce(
    run: Path | str,
    *,
    keep: bool = False,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> Reproduction:
    """Run a finished run, or cross-validation, again as a new one, and compare what comes of it.

    Args:
        run: its folder or name.
        keep: keep the new run also where it is the same; one that differs is kept in any case, to be looked into.
        workspace: where it is.
        control: may stop it.
        trackers: are told of the new run.

    Raises:
        RunError: there is no such run, it is not complete, its data has changed, or it is a study.
        InterruptedRunError: it was stopped; the new run can be resumed like any other.
    """
    folder, kind = folder_and_kind(run, workspace=workspace)
    manifest = read_manifest(folder) if kind != "tune" else {}
    if kind == "tune" or manifest.get("status") != "completed":
        raise RunError(
            "a completed run", got="a study" if kind == "tune" else f"one that is {manifest.get('status')}",
            where=str(folder), fix="reproduce one of its configurations with ringlight train --config FILE"
            if kind == "tune" else "finish it with ringlight runs resume",
        )  # fmt: skip
    runs.refuse_arrays(folder)
    home = home_of(folder)
    if kind == "crossval":
        again = crossval.repeat(folder, workspace=home, control=control, trackers=trackers)
    else:
        again = _train_again(folder, manifest, home, control, trackers)
    differences = compare_folders(folder, again)
    reasons = () if not any(one.differs for one in differences) else why_not_promised(folder, again)
    found = Reproduction(run=folder.name, again=again.name, folder=again, differences=differences, reasons=reasons)
    _note(found, home)
    if found.is_identical and not keep:
        delete(plan_deletion(again, workspace=home))
        found = replace(found, folder=None)
    return found


def _train_again(
    folder: Path, manifest: Mapping[str, Any], home: Path, control: RunControl | None, trackers: Sequence[Tracker]
) -> Path:
    written = read_config(folder / "config.yaml")
    config = written.replacing({"split.file": str(folder.absolute() / "split.csv")})
    if str(manifest.get("device", "")).startswith("cuda") and choose_device("auto").kind == "cpu":
        config = runs.for_the_cpu(config)
    made = runs.plan(config, home)
    expected = manifest.get("dataset_fingerprint")
    if made.fingerprint != expected:
        raise RunError(
            f"the data of the run (fingerprint {str(expected)[:12]})", got=made.fingerprint[:12], where=str(folder),
            fix="bring the data back as it was; runs show tells which records its snapshot holds",
        )  # fmt: skip
    if manifest.get("imbalance"):
        made = runs.as_chosen(made, Choice.from_dict(manifest["imbalance"]))
    # What the new run writes down is the configuration of the first: it names no file of a run that may be deleted.
    made = replace(made, config=made.config.replacing({"split.file": written.split.file}))
    again = runs.new_run(made, home)
    runs.execute(made, again, None, control, trackers, parent=folder.name)
    return again


def why_not_promised(folder: Path, again: Path) -> tuple[str, ...]:
    """Return why the numbers of two runs of one configuration need not be identical; nothing where they must be."""
    found = []
    for one in (folder, again):
        told = str(read_manifest(one).get("reproducibility"))
        if PROMISED not in told.split(": ")[-1].split() or "not identical" in told:
            found.append(told.removeprefix("same configuration: "))
    before, after = (load_results(one)[0].get("environment", {}) for one in (folder, again))
    for key, what in (("processor", "processor"), ("num_threads", "number of threads"), ("python", "Python")):
        if before.get(key) != after.get(key):
            found.append(f"another {what}: {before.get(key)}, now {after.get(key)}")
    versions, now = before.get("versions", {}), after.get("versions", {})
    changed = [f"{name} {versions.get(name)} → {now.get(name)}" for name in now if versions.get(name) != now.get(name)]
    if changed:
        found.append(f"other versions: {', '.join(changed)}")
    return tuple(dict.fromkeys(found))


def _note(found: Reproduction, home: Path) -> None:
    with open_store(home) as store, store.writing() as unit:
        unit.events.add(
            "run", found.run, "reproduced", again=found.again, identical=found.is_identical, verdict=found.verdict
        )
