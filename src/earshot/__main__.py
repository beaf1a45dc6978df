"""`python -m earshot`, for where the command is not on the path."""

import sys

from earshot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
