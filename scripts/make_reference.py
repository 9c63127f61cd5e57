"""Write docs/reference/configuration.md from the configuration's schema (part of `make docs`)."""

from __future__ import annotations

from pathlib import Path

from ringlight.config.reference import reference_page

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"


def main() -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference_page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
