"""Unpack, check and shrink HMDB51: python scripts/prepare_hmdb51.py FOLDER_OF_ARCHIVES (see --help)."""

import sys

from advvid.data.prepare import HMDB51, main

if __name__ == "__main__":
    sys.exit(main(HMDB51))
