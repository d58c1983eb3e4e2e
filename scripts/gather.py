"""Gather the tables of many runs into one: python scripts/gather.py FOLDER... (see --help)."""

import sys

from advvid.runs.gather import main

if __name__ == "__main__":
    sys.exit(main())
