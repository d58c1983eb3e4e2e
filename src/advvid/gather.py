"""``python -m advvid.gather`` is ``advvid gather``."""

import sys

from advvid.runs.gather import main

if __name__ == "__main__":
    sys.exit(main())
