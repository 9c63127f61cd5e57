"""`python -m ringlight`."""

from __future__ import annotations

import sys

from ringlight.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
