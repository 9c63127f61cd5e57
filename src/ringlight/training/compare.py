"""Runs side by side: what they score, in which settings they differ, and which differences are more than chance.

The table lists the runs, best first. Below it every run stands beside the **reference**, the run that was named first
(`ringlight compare BEFORE AFTER`), on the same resamples of the same test set: that it is the same is checked by the
data's fingerprint and the ids of the judged records, and where it is not, no difference is computed. Intervals are not
widened for their number: of twenty true zeros, one is expected to look like a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringlight.errors import RunError
from ringlight.training.compare_pairs import Difference, Pair, compare_pair
from ringlight.training.compare_text import as_markdown, as_text
from ringlight.training.contestants import OTHER_DATA, Contestant
from ringlight.training.results_file import Predictions, Results, load_results, read_predictions

__all__ = ["Comparison", "Difference", "Pair", "compare_results", "load_results"]

HEADLINES = ("macro_f1", "micro_f1", "balanced_accuracy", "accuracy", "subset_accuracy", "auroc", "ap")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of runs: a row a run, the best in the first score first; `notes` says what makes rows not comparable."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()
    reference: str = ""
    """The run the others are compared with."""
    pairs: tuple[Pair, ...] = ()
    """Every other run beside the reference, in the order in which they were named."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The hyper-parameters in which the runs differ: by name, each run's value."""
    leaky: tuple[str, ...] = ()
    """Runs whose split leaks: their scores are too good."""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """One plain sentence for each run that compares with the reference; `notes` says which do not."""
        told = [pair for pair in self.pairs if not pair.refused]
        shown = {pair.run: pair.differences[0].verdict != "not shown" for pair in told}
        return tuple(
            f"against `{pair.reference}`, {pair.verdict if shown[pair.run] else f'`{pair.run}`: {pair.verdict}'}"
            for pair in told
        )

    def lines(self) -> tuple[str, ...]:
        """Return what stands below the table: verdicts, then notes."""
        return (*self.verdicts, *self.notes)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {
            "rows": self.to_dicts(),
            "notes": list(self.notes),
            "reference": self.reference,
            "pairs": [pair.to_dict() for pair in self.pairs],
            "settings": {name: dict(values) for name, values in self.settings.items()},
            "leaky": list(self.leaky),
        }

    def to_markdown(self) -> str:
        """Return table and notes as Markdown, then the differences, class by class, and the settings."""
        return as_markdown(self.columns, self.rows, self.notes, self.pairs, self.settings)

    def __str__(self) -> str:
        return "\n".join([as_text(self.columns, self.rows), *self.lines()])


def compare_results(
    results: Sequence[Mapping[str, Any]],
    *,
    predictions: Sequence[Predictions | None] | None = None,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Tabulate runs, and compare each with the first: which differences of their scores are more than chance.

    Args:
        results: what :func:`load_results` returned; the first is the reference.
        predictions: the runs' predictions, where they do not lie beside their `results.json`.
        num_resamples: bootstrap resamples behind each interval.
        confidence: of the intervals, between 0 and 1.
        seed: of the resamples.

    Raises:
        RunError: there is nothing to compare, or not one entry of `predictions` per run.
    """
    if not results:
        raise RunError("at least one result", got="none", where="compare_results", fix="pass what load_results returns")
    runs = _contestants(results, predictions)
    pairs = tuple(
        compare_pair(runs[0], run, num_resamples=num_resamples, confidence=confidence, seed=seed) for run in runs[1:]
    )
    differing = _differing_settings(results)
    columns, rows = _table(runs, differing)
    settings = {key: {run.label: run.results["hyper_parameters"].get(key) for run in runs} for key in differing}
    leaky = tuple(run.label for run in runs if run.leaky)
    return Comparison(columns, rows, tuple(_notes(runs, pairs)), runs[0].label, pairs, settings, leaky)


def _contestants(
    results: Sequence[Mapping[str, Any]], predictions: Sequence[Predictions | None] | None
) -> list[Contestant]:
    if predictions is not None and len(predictions) != len(results):
        raise RunError(
            f"predictions, or None, for each of {len(results)} runs",
            got=str(len(predictions)),
            where="compare_results",
            fix="pass one entry per run",
        )
    names = Counter(run["run"] for run in results)
    made = []
    for number, run in enumerate(results):
        label = run["run"] if names[run["run"]] == 1 else f"{run['run']} #{number + 1}"
        given = predictions[number] if predictions is not None else None
        made.append(Contestant(label, run, *((given, "") if given is not None else _predictions(run))))
    return made


def _predictions(run: Mapping[str, Any]) -> tuple[Predictions | None, str]:
    folder: Path | None = run.folder if isinstance(run, Results) else None
    if folder is None:
        return None, "its results were not read from a run folder"
    try:
        return read_predictions(folder, run["dataset"].get("classes", ())), ""
    except RunError as error:
        return None, str(error)


def _table(runs: Sequence[Contestant], differing: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    scalars = [run.results["test"]["scalars"] for run in runs]
    metrics = [name for name in HEADLINES if any(scores.get(name) is not None for scores in scalars)]
    flag = ("leaky",) if any(run.leaky for run in runs) else ()
    rows = [
        (
            run.label,
            *(("yes" if run.leaky else "no",) if flag else ()),
            run.results["model"]["name"],
            run.results["loss"]["name"],
            *(run.results["hyper_parameters"].get(key) for key in differing),
            *(scores.get(name) for name in metrics),
        )
        for run, scores in zip(runs, scalars, strict=True)
    ]
    columns = ("run", *flag, "model", "loss", *differing, *metrics)
    if metrics:
        score = len(columns) - len(metrics)
        rows.sort(key=lambda row: (row[score] is None, -(row[score] or 0.0)))
    return columns, tuple(rows)


def _differing_settings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for run in results for key in run["hyper_parameters"])
    told = [key for key in keys if not key.startswith(("model.name", "loss.name", "data.root"))]
    return [key for key in told if len({repr(run["hyper_parameters"].get(key)) for run in results}) > 1]


def _notes(runs: Sequence[Contestant], pairs: Sequence[Pair]) -> list[str]:
    results = [run.results for run in runs]
    notes = []
    if len({run["dataset"]["fingerprint"] for run in results}) > 1:
        notes.append("note: the runs were judged on different data; their scores do not compare")
    elif any(pair.refused for pair in pairs) and _split_differently(results):
        notes.append("note: the runs were split differently; their test sets are not the same")
    leaky = [str(run) for run in runs if run.leaky]
    if leaky:
        notes.append(
            f"note: {', '.join(leaky)}: what belongs together is on both sides of the split; the scores are too good"
        )
    notes += [
        f"note: `{pair.run}`: no difference computed: {pair.refused}"
        for pair in pairs
        if pair.refused not in ("", OTHER_DATA)
    ]
    return notes


def _split_differently(results: Sequence[Mapping[str, Any]]) -> bool:
    return len({(run["split"]["strategy"], run["split"]["seed"], run["judged_part"]) for run in results}) > 1
