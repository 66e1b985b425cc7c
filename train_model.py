"""Entry point of the retrain Space: settings, port, one training process, summary, pause.

Imports nothing heavy, so that bad settings show at once and the port opens within the platform's patience.
The exit code is the run's outcome (run_record.EXIT_CODES; 128 + the signal's number for an interrupted run).
"""

import logging
import os
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs import BaseConfig, clean_environment, get_config
from errors import Interrupted, RetrainError, SettingsError
from reporting.redaction import Redactor, set_up_logging
from reporting.summary import summary
from run_record import EXIT_CODES, Journal, run_record

TRAINING = (sys.executable, "-u", str(Path(__file__).with_name("training_process.py")))

logger = logging.getLogger("retrain")


def main(environ: Mapping[str, str]) -> int:
    """Run once; whatever happens, tell it and pause the Space."""
    try:
        config = get_config(environ)
        redact = Redactor(config.secrets)
        set_up_logging(redact)
        from lifecycle.status_page import open_port, serve

        listener = open_port(config.port)
    except SettingsError as error:
        return refuse(error, environ)

    from lifecycle.supervisor import interruptible, run_child

    journal = new_journal(config.run_dir, config.label, redact)
    serve(listener, lambda: run_record(journal.read()))
    journal.write("started", label=config.label, folder=str(journal.folder), settings=config.public_values())
    for name, value in config.public_values().items():
        source = "environment" if name in environ else "default"
        logger.info("%s = %s (%s)", name, value, source)
    interrupted_by = 0
    try:
        with interruptible():
            run_child([*TRAINING, str(journal.folder)], environ, journal, redact)
    except Interrupted as error:
        interrupted_by = error.signum
        journal.write("outcome", outcome=error.outcome, reasons=[str(error)])
    record = finish(journal, config, redact, interrupted=bool(interrupted_by))
    return 128 + interrupted_by if interrupted_by else EXIT_CODES[record["outcome"]]


def new_journal(run_dir: Path, label: str, redact: Redactor) -> Journal:
    """A folder of its own for this run; the random end keeps two runs of one second apart."""
    name = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_{label}_{uuid.uuid4().hex[:4]}"
    return Journal.create(run_dir.resolve() / name, redact)


def finish(journal: Journal, config: BaseConfig, redact: Redactor, *, interrupted: bool) -> dict[str, Any]:
    """Write run.json, print the summary, pause the Space, in this order."""
    record = journal.write_run_record()
    print(redact(summary(record)), flush=True)
    if config.retrain_space_id:
        pause(config.hf_token.get_secret_value(), config.retrain_space_id, journal, interrupted=interrupted)
    return record


def pause(token: str, space_id: str, journal: Journal | None = None, *, interrupted: bool = False) -> None:
    """Pause the Space; an interrupted run leaves it alone where the platform is restarting or stopping it."""
    from huggingface_hub import HfApi

    from lifecycle.hub_client import configure_hub_client
    from lifecycle.space_control import is_being_replaced, pause_space

    configure_hub_client()
    api = HfApi(token=token)
    try:
        if interrupted and is_being_replaced(api, space_id):
            logger.info("%s is being restarted or stopped already: not paused by this run", space_id)
            return
        if journal:
            journal.write("pausing", space_id=space_id)
            journal.write_run_record()
        logger.info("Pausing %s", space_id)
        pause_space(api, space_id)
    except RetrainError as error:
        logger.error("%s It is still billed: pause it by hand in its settings.", error)
        if journal:
            journal.write("pause_failed", space_id=space_id, message=str(error))
            journal.write_run_record()


def refuse(error: SettingsError, environ: Mapping[str, str]) -> int:
    """Tell what is wrong with the settings, first of all; then record it and pause, with what can be had."""
    variables = clean_environment(environ)
    token = variables.get("HF_TOKEN", "")
    redact = Redactor([token, variables.get("API_TOKEN", ""), variables.get("WANDB_API_KEY", "")])
    set_up_logging(redact)
    print(redact(str(error)), file=sys.stderr, flush=True)
    try:
        journal = new_journal(Path(variables.get("RUN_DIR", "runs")), "bad_settings", redact)
        journal.write("outcome", outcome=error.outcome, reasons=str(error).splitlines())
        journal.write_run_record()
    except OSError as cause:
        logger.warning("RUN_DIR can't be written (%s), so there is no run.json", cause.strerror)
    space_id = variables.get("RETRAIN_SPACE_ID") or variables.get("SPACE_ID")
    if token and space_id:
        pause(token, space_id)
    return EXIT_CODES[error.outcome]


if __name__ == "__main__":
    # HF_ENDPOINT and the like are read by the libraries; our own settings stay raw, to be cleaned just once.
    ours = {name.upper() for name in BaseConfig.model_fields}
    os.environ.update({k: v for k, v in clean_environment(os.environ).items() if k not in ours})
    sys.exit(main(os.environ))
