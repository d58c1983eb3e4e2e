"""``python -m advvid.papers`` is ``advvid papers``."""

import sys

from advvid.studies.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
