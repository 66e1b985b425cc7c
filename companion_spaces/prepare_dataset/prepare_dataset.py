"""Entry point of the prepare_dataset Space: one preparation under a supervisor, see retrain.job.

The exit code is the run's outcome (records.OUTCOMES); of several label sets it is the worst.
`python prepare_dataset.py hash` prints the hashes of texts, one a line, by which FORGET names them.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from preparation.settings import PreparationSettings, get_settings
from retrain.errors import SettingsError
from retrain.job import Job, start

PREPARATION = (sys.executable, "-u", str(Path(__file__).with_name("preparation_process.py")))


def own_space(variables: Mapping[str, str]) -> str | None:
    """The Space that is paused at the end."""
    return variables.get("PREPARE_SPACE_ID") or variables.get("SPACE_ID")


def print_hashes(environ: Mapping[str, str]) -> int:
    """Read texts from the standard input, one a line, and print their hashes."""
    from preparation.material import text_hashes  # heavy

    try:
        settings = get_settings(environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    lines = (line.rstrip("\n") for line in sys.stdin)
    print("\n".join(text_hashes(lines, settings.split_key.get_secret_value().encode())))
    return 0


PREPARE = Job(PREPARATION, PreparationSettings, get_settings, own_space, name="Preparing data sets")

if __name__ == "__main__":
    sys.exit(print_hashes(os.environ) if sys.argv[1:] == ["hash"] else start(PREPARE))
