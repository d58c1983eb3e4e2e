"""Unpack, check and shrink UCF101: python scripts/prepare_ucf101.py FOLDER_OF_ARCHIVES (see --help)."""

import sys

from advvid.data.prepare import UCF101, main

if __name__ == "__main__":
    sys.exit(main(UCF101))
