"""The report of a run: one self-contained page and the same content as JSON.

A report is made from plain values (`results.json`) and pictures that are handed in, so that it can be made again later,
from any run, without data or model.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADLINES = ("macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "subset_accuracy", "auroc", "ap")
CLASS_COLUMNS = ("precision", "recall", "f1", "auroc", "ap", "support")

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { background: var(--soft); }
figure { margin: 1rem 0; } img { max-width: 100%; background: #fff; } figcaption, .sub { opacity: .75; }
@media print { body { margin: 0; max-width: none; } figure, table { break-inside: avoid; } }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of plain values; None prints as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a page shows, in order: sentences, tables, pictures (name -> PNG bytes, description), notes, appendix."""

    title: str
    subtitle: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)
    appendix: tuple[Table, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the content without the pictures' bytes, for `report.json`."""
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "sentences": list(self.sentences),
            "tables": [
                {"title": table.title, "columns": list(table.columns), "rows": [list(row) for row in table.rows]}
                for table in (*self.tables, *self.appendix)
            ],
            "notes": list(self.notes),
            "pictures": {name: description for name, (_, description) in self.pictures.items()},
        }

    def to_html(self) -> str:
        """Return one page that needs nothing else: styles and pictures are in it, and it fetches nothing."""
        parts = [f"<h1>{html.escape(self.title)}</h1>", f'<p class="sub">{html.escape(self.subtitle)}</p>']
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in self.sentences]
        parts += [_table(table) for table in self.tables]
        parts += [_picture(name, data, text) for name, (data, text) in self.pictures.items()]
        if self.notes:
            items = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
            parts.append(f"<h2>Notes</h2><ul>{items}</ul>")
        parts += [_table(table) for table in self.appendix]
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head>"
            f"<body>{''.join(parts)}</body></html>\n"
        )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in table.rows)
    return f"<h2>{html.escape(table.title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def _picture(name: str, data: bytes, description: str) -> str:
    source = base64.b64encode(data).decode("ascii")
    text = html.escape(description, quote=True)
    return (
        f'<figure id="{html.escape(name, quote=True)}"><img alt="{text}" src="data:image/png;base64,{source}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def run_report(results: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Report:
    """Make the report of a run from its results (schema version 1) and its pictures, PNG bytes by name."""
    test, part = results["test"], results["judged_part"]
    described = {
        "confusion": f"Confusion matrix of the {part} part: rows are the truth, columns the prediction.",
        "history": "Learning curves: loss and monitored metric after each epoch.",
        "samples": f"Records of the {part} part whose scores are farthest from the truth, worst first.",
    }
    return Report(
        title=f"Run {results['run']}",
        subtitle=f"{results['model']['name']} on {results['dataset']['name']}, loss {results['loss']['name']}",
        sentences=_sentences(results),
        tables=(
            Table("Scores", ("metric", part), tuple(_headlines(test["scalars"]))),
            Table("Classes", ("class", *CLASS_COLUMNS), tuple(_classes(test["per_class"]))),
            _split_table(results),
        ),
        appendix=(Table("Configuration", ("key", "value"), tuple(_settings(results["hyper_parameters"]))),),
        notes=(*test["notes"], *results["notes"]),
        pictures={name: (data, described.get(name, name)) for name, data in pictures.items()},
    )


def _sentences(results: Mapping[str, Any]) -> tuple[str, ...]:
    part, scores = results["judged_part"], results["test"]["per_class"]
    judged = results["split"]["parts"][part]["num_records"]
    found = f"Judged on {judged} records of the {part} part, which no choice was made on."
    if part != "test":
        found = f"There is no test part: judged on the {judged} records that also chose the weights, so too kindly."
    defined = {name: row for name, row in scores.items() if row["support"]}
    if not defined:
        return (found,)
    name, row = min(defined.items(), key=lambda item: item[1]["recall"])
    return (found, f"The class found least often is {name}: recall {row['recall']:.2f} on {row['support']} records.")


def _headlines(scalars: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, scalars[name]) for name in HEADLINES if scalars.get(name) is not None]


def _classes(per_class: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(name, *(row.get(column) for column in CLASS_COLUMNS)) for name, row in per_class.items()]


def _settings(parameters: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return settings as they are written: a weight decay of 0.0001 is not 0.000."""
    return [(key, None if value is None else f"{value}") for key, value in sorted(parameters.items())]


def _split_table(results: Mapping[str, Any]) -> Table:
    parts = results["split"]["parts"]
    rows: list[tuple[Any, ...]] = [
        (name, *(part["class_counts"][name] for part in parts.values())) for name in results["dataset"]["classes"]
    ]
    rows.append(("records", *(part["num_records"] for part in parts.values())))
    return Table(f"Split: {results['split']['strategy']}", ("class", *parts), tuple(rows))
