"""The command line in a folder of its own, in a process that has everything imported already."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.drills.process import Ended, carry_out


def run(arguments: Sequence[str], folder: Path, entry: str = "advvid.train") -> Ended:
    """Carry out ``python -m <entry> <arguments>`` in a folder, and return how it ended with all that it said."""
    importlib.import_module("advvid.experiment.run")  # the child has it then
    main = importlib.import_module(entry).main

    def there() -> None:
        # pytest puts something else in their place.
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(folder)
        main()

    return carry_out(there, arguments, {}, folder.parent / f"{folder.name}.said")
