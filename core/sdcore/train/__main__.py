"""``python -m sdcore.train``."""

import sys

from sdcore.train.entry import main

if __name__ == "__main__":
    sys.exit(main())
