"""Entry point of the prepare_dataset Space: one preparation under a supervisor, see retrain.job.

The exit code is the run's outcome (records.OUTCOMES); of several label sets it is the worst.
`python prepare_dataset.py hash` prints the hashes of texts, one a line, by which FORGET names them; `waiting`
counts the corrections of each label set that were reviewed after a time: see print_waiting.
"""

import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from preparation.settings import PreparationSettings, get_settings
from retrain.errors import SettingsError
from retrain.job import Job, start
from retrain.language import N_

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


def print_waiting(environ: Mapping[str, str]) -> int:
    """Read {label set: time or null} from the standard input; print what is newer, as JSON."""
    from preparation.entries import in_utc
    from preparation.waiting import waiting
    from retrain.errors import RetrainError

    try:
        settings = get_settings(
            {"SPLIT_KEY": "not needed to count", "HF_TOKEN": "not needed"} | dict(environ)
        )
        times = json.loads(sys.stdin.read() or "{}")
        since = {label: in_utc(datetime.fromisoformat(time)) for label, time in times.items() if time}
        print(json.dumps(waiting(settings, since)))
    except RetrainError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


COMMANDS = {"hash": print_hashes, "waiting": print_waiting}
STAGES = (N_("read the data sets"), N_("read the complaints"), N_("find near-duplicates"))
NAME = N_("Preparing data sets")
PREPARE = Job(PREPARATION, PreparationSettings, get_settings, own_space, name=NAME, stages=STAGES)

if __name__ == "__main__":
    command = COMMANDS.get(" ".join(sys.argv[1:]))
    sys.exit(command(os.environ) if command else start(PREPARE))
