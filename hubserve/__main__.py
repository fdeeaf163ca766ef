"""``python -m hubserve`` is ``hub``."""

import sys

from hubserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
