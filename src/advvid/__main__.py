"""``python -m advvid`` is the command ``advvid``."""

import sys

from advvid.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
