"""The operator's command: `python -m retrain --help`."""

import os
import sys

from retrain.library_variables import take_out_unusable

if __name__ == "__main__":
    for warning in take_out_unusable(os.environ):
        print(warning, file=sys.stderr)
    from retrain.commands import run

    sys.exit(run(sys.argv[1:]))
