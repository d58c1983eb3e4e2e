"""``advvid prepare ucf101 FOLDER_OF_ARCHIVES``: unpack, check and shrink a data set that may not be redistributed."""

from __future__ import annotations

import sys

from advvid.data import prepare

SOURCES = {source.option: source for source in (prepare.UCF101, prepare.HMDB51)}


def main() -> int:
    """Run the command line of the named data set."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        sys.stdout.write("usage: advvid prepare {ucf101,hmdb51} FOLDER; advvid prepare ucf101 --help says more\n")
        return 0
    if name not in SOURCES:
        sys.stderr.write(f"error: advvid prepare needs the name of a data set: {' or '.join(SOURCES)}\n")
        return 2
    return prepare.main(SOURCES[name], sys.argv[2:])
