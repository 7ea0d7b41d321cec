"""``python -m kasoku``."""

import sys

from kasoku.cli import main

if __name__ == "__main__":
    sys.exit(main())
