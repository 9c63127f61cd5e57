"""The section on the embedding: what its nearest records are worth, the plane it lies in, and sheets of neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringlight.evaluation.report_blocks import (
    Block,
    Estimate,
    Picture,
    Section,
    Sentence,
    Table,
    Value,
    counted,
    estimate,
    said,
)

_FURTHER = {"r_precision": "R-precision", "map_at_r": "mAP@R"}


def retrieval_section(results: Mapping[str, Any]) -> Section | None:
    """Return the scores of the embedding, its plane and its neighbours; None where none was judged."""
    found = results.get("retrieval")
    if not found:
        return None
    blocks: list[Block] = [Sentence(_lead(found))]
    blocks += [Sentence(f"{note[0].upper()}{note[1:]}.", "warn") for note in found["notes"]]
    blocks += [_scores(found), *_classes(found), *_pictures(found)]
    return Section("embedding", "Embedding", tuple(blocks))


def _lead(found: Mapping[str, Any]) -> str:
    if not found["num_queries"]:
        return "No record has another of its class to find, so that the embedding has no score."
    first = said(estimate(found, found["intervals"], "precision_at_1"))
    vote = found["knn"]
    return (
        f"The nearest training record has the right class for {first} of {counted(found['num_queries'], 'record')}; "
        f"the vote of the {vote['k']} nearest is right for {vote['accuracy']:.2f}, without any classifier."
    )


def _scores(found: Mapping[str, Any]) -> Table:
    sides = [("training part", found), (f"{found['part']} part itself", found["within"])]
    head = [f"recall@{k}" for k in found["recall_at"]] + list(_FURTHER.values())
    rows: list[tuple[Value, ...]] = []
    for name, side in sides:
        recalls = {f"recall_at_{k}": value for k, value in side["recall_at"].items()}
        values = {**side, **recalls}
        cells = [estimate(values, side["intervals"], key) for key in (*recalls, *_FURTHER)]
        rows.append((name, side["num_queries"], side["num_gallery"], *cells))
    return Table(
        "What is found among the nearest", ("searched", "queries", "records", *head), tuple(rows), note=_note(found),
        sortable=False,
    )  # fmt: skip


def _note(found: Mapping[str, Any]) -> str:
    hidden = found["num_hidden"] + found["within"]["num_hidden"]
    kept = f" Records of one {_unit(found)} do not see each other ({hidden:,} pairs)." if hidden else ""
    return (
        "recall@k: a record of the class is among the k nearest by cosine. R-precision and mAP@R look at the R "
        f"nearest, R being the number of records of the class.{kept} In brackets: {found['confidence']:.0%} interval "
        f"over {counted(found['num_units'], _unit(found))} of the {found['part']} data."
    )


def _unit(found: Mapping[str, Any]) -> str:
    return "part" if "group" in (found["unit"], found["within"]["unit"]) else "record"


def _classes(found: Mapping[str, Any]) -> Sequence[Table]:
    rows = tuple(
        (name, row["num_queries"], row["num_undefined"], Estimate(row["precision_at_1"]), Estimate(row["map_at_r"]))
        for name, row in found["per_class"].items()
    )
    head = ("class", "queries", "left out", "recall@1", "mAP@R")
    return [Table("Of each class, among the training records", head, rows)] if rows else []


def _pictures(found: Mapping[str, Any]) -> Sequence[Block]:
    plane = found["projection"]
    how = (
        "t-SNE keeps neighbours together; distances between clusters and their sizes mean nothing."
        if plane["method"] == "t-SNE"
        else f"The first two principal components hold {plane['explained']:.0%} of the variance."
    )
    caption = (
        f"The embedding in a plane: {plane['num_judged']} {found['part']} and {plane['num_train']} training records."
    )
    sheet = (
        f"Records of the {found['part']} part with their nearest training records: the most misleading first, then "
        "some at random. Solid frame: the right class; dashed: another."
    )
    told = [f"{row['truth']}: {row['num_right']} of {len(row['neighbors'])} right" for row in found["neighbors"]]
    return (
        Picture("embedding", f"{caption} {how}", f"{caption} {how}"),
        Picture("neighbors", f"{sheet} {'; '.join(told)}.", sheet, chart=False),
    )
