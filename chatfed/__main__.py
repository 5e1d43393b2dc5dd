"""`python -m chatfed`: the `chatfed` command, also in a checkout that is not installed."""

import sys

from chatfed.cli import main

if __name__ == "__main__":
    sys.exit(main())
