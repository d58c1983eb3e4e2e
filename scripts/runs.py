"""Runs of advvid that scripts carry out one after the other: what is finished is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def carry_out(folder: Path, *words: str, extra: Sequence[str] = ()) -> str:
    """Carry out ``python -m advvid.train`` in a folder, unless it was carried out there with the same words.

    A run that was cut goes on where it stopped. What it says is in ``output.txt``, what it was told in ``command.json``.

    Args:
        folder: of the run.
        words: of the command line.
        extra: words that results do not depend on, such as the number of threads.

    Returns:
        The command, as one would type it at the top of the project.

    Raises:
        SystemExit: with one sentence, if the run failed, or the folder holds a training of another command, which would
            otherwise be taken for this one.
    """
    command = ["-m", "advvid.train", *words, f"hydra.run.dir={folder}"]
    note = folder / "command.json"
    before = json.loads(note.read_text()) if note.is_file() else None
    if before != command:
        if before is not None and "mode=eval" not in words:
            raise SystemExit(
                f"error: {folder} holds a run of another command: delete it, or give another folder for the runs"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "output.txt").open("a") as output:
            whole = [sys.executable, *command, *extra, "resume=true"]
            if subprocess.run(whole, check=False, stdout=output, stderr=subprocess.STDOUT).returncode:
                raise SystemExit(f"error: {folder.name} failed, see {folder / 'output.txt'}")
        note.write_text(json.dumps(command))
    return " ".join(["python", *command]).replace(f"{TOP}/", "")
