"""The sections on what was judged: data and split, slices of it, configuration, environment, notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ringlight.evaluation.report_blocks import (
    Block,
    Estimate,
    Facts,
    Picture,
    Section,
    Sentence,
    Table,
    Value,
    spoken,
)
from ringlight.evaluation.report_verdict import leak_sentences


def data_section(results: Mapping[str, Any]) -> Section:
    """Return the data and split card: classes x parts, groups, fingerprint, leak check and probe."""
    blocks: list[Block] = [_split_table(results), _card(results), *leak_sentences(results), *_probe_table(results)]
    text = "Pairs that were linked as near-duplicates, the weakest links among them: what no split may divide."
    blocks.append(Picture("duplicates", text, text, chart=False))
    return Section("data", "Data and split", tuple(blocks))


def _split_table(results: Mapping[str, Any]) -> Table:
    parts = results["split"]["parts"]
    columns = ("class", *parts)
    rows: list[tuple[Value, ...]] = [
        (name, *(part["class_counts"].get(name) for part in parts.values())) for name in results["dataset"]["classes"]
    ]
    footer: list[tuple[Value, ...]] = [("records", *(part["num_records"] for part in parts.values()))]
    if any(part.get("num_groups") is not None for part in parts.values()):
        footer.append(("parts (groups)", *(part.get("num_groups") for part in parts.values())))
    several = results["dataset"].get("task") == "multilabel"
    note = "A record counts in every class it carries; clean records in none." if several else ""
    return Table(f"Records of each class: {results['split']['strategy']}", columns, tuple(rows), tuple(footer), note)


def _card(results: Mapping[str, Any]) -> Facts:
    data, split = results["dataset"], results["split"]
    items: dict[str, Value] = {
        "data set": data["name"],
        "fingerprint": data.get("fingerprint"),
        "records": data.get("num_records"),
        "task": data.get("task"),
        "split": split["strategy"],
        "seed": split.get("seed"),
        "kept together": split.get("groups"),
        "judged part": results["judged_part"],
    }
    return Facts(tuple((term, value) for term, value in items.items() if value not in (None, "")))


def _probe_table(results: Mapping[str, Any]) -> Iterator[Table]:
    probe = results["split"].get("probe")
    if not probe:
        return
    name = spoken(probe.get("metric", "macro_f1"))
    rows = tuple(
        (f"{kind} split", Estimate(probe[kind]["value"], probe[kind].get("low"), probe[kind].get("high")))
        for kind in ("random", "grouped")
    )
    note = f"Cross-validated with {probe['classifier']}, not with this run's model." if probe.get("classifier") else ""
    yield Table("What a random split would pretend", ("folds", name), rows, note=note, sortable=False)


def slices_section(results: Mapping[str, Any]) -> Section | None:
    """Return the scores of slices of the judged part: by group, folder, image size, time."""
    slices = results.get("slices")
    if not slices:
        return None
    rows = tuple(
        (row["by"], row["name"], row["num_records"], Estimate(row["value"], row.get("low"), row.get("high")))
        for row in slices
    )
    metric = " and ".join(sorted({spoken(str(row["metric"])) for row in slices}))
    title = f"{metric.capitalize()} of slices of the judged data"
    note = "Many slices are many looks: the lowest of twenty is low by chance alone when the intervals overlap."
    table = Table(title, ("by", "slice", "records", metric), rows, note=note)
    return Section("slices", "Slices", (table,), folded=len(slices) > 40)


def configuration_section(results: Mapping[str, Any]) -> Section:
    """Return the model, every setting that shaped the run, times and the environment it ran in."""
    blocks: list[Block] = [Facts(tuple(_identity(results)))]
    blocks += [
        Table(title, ("key", "value"), tuple((key, _setting(value)) for key, value in sorted(rows.items())))
        for title, rows in (
            ("Settings", results.get("hyper_parameters")),
            ("Loss, as used", results.get("loss")),
            ("Environment", _environment(results)),
        )
        if rows
    ]
    return Section("configuration", "Configuration and environment", tuple(blocks), folded=True)


def _identity(results: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    model, timings = results["model"], results.get("timings") or {}
    weights = model.get("weights") or {}
    facts: dict[str, Value] = {
        "run": results["run"],
        "recipe": results.get("recipe"),
        "experiment": results.get("experiment"),
        "model": model["name"],
        "parameters": model.get("num_parameters"),
        "first weights": weights.get("source"),
        "seed": (results.get("hyper_parameters") or {}).get("seed"),
        **{f"{name}, seconds": f"{seconds:.1f}" for name, seconds in timings.items()},
    }
    yield from ((term, value) for term, value in facts.items() if value is not None)


def _environment(results: Mapping[str, Any]) -> dict[str, Any]:
    environment = dict(results.get("environment") or {})
    versions = environment.pop("versions", None) or {}
    return environment | {f"version: {name}": version for name, version in versions.items()}


def _setting(value: Any) -> str | None:
    """Return a setting as it is written: a weight decay of 0.0001 is not 0.000."""
    return None if value is None else f"{value}"


def notes_section(results: Mapping[str, Any]) -> Section | None:
    """Return what was skipped, mended, chosen or undefined, a sentence each."""
    notes = (*(results["test"].get("notes") or ()), *(results.get("notes") or ()))
    return Section("notes", "Notes", tuple(Sentence(note) for note in notes)) if notes else None
