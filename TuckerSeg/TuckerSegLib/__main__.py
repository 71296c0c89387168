"""``python -m TuckerSegLib`` is the ``tuckerseg`` command."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
