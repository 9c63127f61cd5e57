"""The report's section on phases: a row for each, and none without."""

from __future__ import annotations

from typing import Any

from ringlight.evaluation.report_blocks import Estimate, Sentence, Table
from ringlight.evaluation.report_phases import phases_section


def phase(name: str, **changed: Any) -> dict[str, Any]:
    return {
        "name": name, "model": "hybrid", "num_parameters": 5_123_456, "num_epochs": 20, "seconds": 12.345,
        "monitor": "macro_f1", "best": {"epoch": 3, "val/macro_f1": 0.875}, "notes": [], "history": [], **changed,
    }  # fmt: skip


def test_without_phases_there_is_no_section() -> None:
    assert phases_section({}) is None
    assert phases_section({"phases": []}) is None
    assert phases_section({"phases": None}) is None


def test_every_phase_has_a_row() -> None:
    section = phases_section({"phases": [phase("supcon"), phase("distill", model="resnet10t", num_epochs=5)]})
    assert section is not None
    lead, table = section.blocks
    assert isinstance(lead, Sentence)
    assert isinstance(table, Table)
    assert table.columns == ("phase", "model", "parameters", "epochs", "seconds", "validation macro-F1")
    assert table.rows == (
        ("supcon (contrastive)", "hybrid", "5,123,456", 20, "12.3", Estimate(0.875)),
        ("distill (student)", "resnet10t", "5,123,456", 5, "12.3", Estimate(0.875)),
    )


def test_without_a_validation_part_no_score_is_told() -> None:
    section = phases_section({"phases": [phase("margin", monitor=None, best=None)]})
    assert section is not None
    table = section.blocks[1]
    assert isinstance(table, Table)
    assert table.columns[-1] == "validation score"
    assert table.rows[0][-1] == Estimate(None)
