"""The operator's command: `python -m retrain --help`."""

import sys

from retrain.commands import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
