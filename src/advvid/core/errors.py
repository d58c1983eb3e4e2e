"""The one exception type that a user is meant to see."""

from __future__ import annotations


class AdvvidError(Exception):
    """A problem that the user can mend.

    The message is one clear sentence that names the thing and the remedy. The command line prints it
    without a traceback and exits with a non-zero status.
    """
