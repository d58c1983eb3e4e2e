"""Plants every fault and prints what a user reads: python -m tests.faults [file]."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.listing import table

if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(table(), encoding="utf-8")
    else:
        sys.stdout.write(table())
