"""The log of a run folder, which a full disk does not turn into the end of the run."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path

from advvid.core.files import REMEDIES


class RunLog(logging.FileHandler):
    """Writes ``train.log``; where the disk takes no more it says so once, and the run goes on without.

    Python's own handler prints a traceback for every line then, or ends the run.

    Example:
        >>> handler = RunLog("/nowhere/train.log", delay=True)
        >>> handler.emit(logging.makeLogRecord({"msg": "lost"}))
        >>> handler.lost
        True
    """

    lost = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless the disk refused one before."""
        if self.lost:
            return
        try:
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.lost = True
        what = REMEDIES.get(error.errno or 0, (error.strerror,))[0]
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{Path(self.baseFilename)} takes no more lines ({what}); the run goes on\n")
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()
