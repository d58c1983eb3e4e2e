"""ComDefend's networks with an eighth of the channels, trained on embedded frames, for the tables that stand on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILE = Path("outputs/comdefend/width8.pt")
SETTINGS = ["--patches", "3000", "--patch", "16", "--width", "0.125", "--batch-size", "16"]


def networks(file: Path = FILE) -> Path:
    """Train the networks where they are missing, a few minutes of one core, and return their file."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        command = ["-m", "advvid.purifiers.train_comdefend", "dataset=motion_look", "--out", str(file), *SETTINGS]
        subprocess.run([sys.executable, *command], check=True)
    return file
