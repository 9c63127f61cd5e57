"""The reference page says what the schema says."""

from __future__ import annotations

from pathlib import Path

from ringlight.config.aliases import ALIASES
from ringlight.config.reference import reference_page
from ringlight.config.schema import SECTIONS, fields_of

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_page_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run: python scripts/make_reference.py"


def test_page_names_every_key_and_every_alias():
    page = reference_page()
    for section in SECTIONS:
        assert f"\n## {section}\n" in page
        for key in fields_of(section):
            assert f"\n| `{key}` | " in page.partition(f"\n## {section}\n")[2]
    optimizer = page.partition("\n## optimizer\n")[2].partition("\n## ")[0]
    assert "\n| `sam` | keys below, or null | null | " in optimizer
    assert "\n| `sam.rho` | number > 0 | 0.05 | " in optimizer
    assert "\n| `lookahead.k` | integer ≥ 1 | 5 | " in optimizer
    for alias, meant in ALIASES.items():
        assert f"| `{alias}` | `{meant}` |" in page
