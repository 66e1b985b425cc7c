"""Entry point of the retrain Space: settings, port, one training process, report, summary, pause.

Imports nothing heavy, so that bad settings show at once and the port opens within the platform's patience.
The exit code is the run's outcome (run_record.OUTCOMES; 128 + the signal's number for an interrupted run).
"""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs import BaseConfig, clean_environment, get_config, split_urls
from retrain.errors import Interrupted, SettingsError, bug_reason
from retrain.journal import Journal
from retrain.records import OUTCOMES
from retrain.redaction import Redactor, set_up_logging
from retrain.reporting.summary import is_good, summary, title

SOURCE = Path(__file__).parent
TRAINING = (sys.executable, "-u", str(SOURCE / "model_pipeline.py"))
REPORT, TRACKING = "retrain.reporting.report", "retrain.reporting.tracking"
# How long the steps between the outcome and the pause may take, each; a process in them a little less.
GUEST_SECONDS, PROCESS_SECONDS = 90.0, 75.0

logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class Contacts:
    """Whom the end of a run is told to, and what is paused; what is None can't be had."""

    token: str | None
    space_id: str | None
    model_id: str | None = None
    urls: list[str] = field(default_factory=list)


def main(environ: Mapping[str, str]) -> int:
    """Run once; whatever happens, record it, tell it and pause the Space."""
    try:
        config = get_config(environ)
        redact = Redactor(config.secrets)
        set_up_logging(redact)
        from retrain.lifecycle.status_page import open_port, serve

        listener = open_port(config.port)
        journal = new_journal(config.run_dir, config.label, redact)
    except SettingsError as error:
        return refuse(error, environ)

    from retrain.lifecycle.supervisor import Limits, interruptible, run_child

    contacts = Contacts(
        config.hf_token.get_secret_value(),
        config.retrain_space_id,
        config.hub_model_id,
        split_urls(config.notify_urls),
    )
    limits = Limits(config.max_run_minutes, config.stall_minutes)
    signum = 0
    try:
        with interruptible():
            serve(listener, journal)
            begin(journal, config, contacts, environ)
            run_child([*TRAINING, str(journal.folder)], environ, journal, redact, limits)
    except Interrupted as error:
        signum = error.signum
        journal.write("outcome", outcome=error.outcome, reasons=[str(error)])
    except Exception as error:  # whatever it is, the Space is paused
        logger.exception("A bug ended the supervision of the run")
        journal.write("outcome", outcome="bug", reasons=[bug_reason(error)])
    outcome = finish(journal, redact, contacts, environ, interrupted=bool(signum))
    return 128 + signum if outcome == "interrupted" else OUTCOMES[outcome].exit_code


def new_journal(run_dir: Path, label: str, redact: Redactor) -> Journal:
    """A folder of its own for this run; the random end keeps two runs of one second apart.

    Raises:
        SettingsError: RUN_DIR can't be written.
    """
    name = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_{label}_{uuid.uuid4().hex[:4]}"
    try:
        return Journal.create(run_dir.resolve() / name, redact)
    except OSError as error:
        raise SettingsError(f"RUN_DIR={run_dir} can't be written ({error.strerror}).") from error


def begin(journal: Journal, config: BaseConfig, contacts: Contacts, environ: Mapping[str, str]) -> None:
    """Record and log what the run starts with."""
    journal.write("started", label=config.label, folder=str(journal.folder), settings=config.public_values())
    for name, value in config.public_values().items():
        source = "environment" if name in environ else "default"
        logger.info("%s = %s (%s)", name, value, source)
    if contacts.urls:
        from retrain.reporting.notification import warnings_before

        for warning in warnings_before(contacts.urls, on_a_space="SPACE_ID" in environ):
            journal.warn(warning)


def finish(
    journal: Journal,
    redact: Redactor,
    contacts: Contacts,
    environ: Mapping[str, str],
    *,
    interrupted: bool = False,
) -> str:
    """Record, report, tell, pause, in this order; returns the outcome.

    An interrupted run has seconds: it makes its report last.
    """
    from huggingface_hub import HfApi

    from retrain.hub.client import configure_hub_client
    from retrain.lifecycle.ending import guest, pause_or_stay

    configure_hub_client()
    api = HfApi(token=contacts.token)

    def keep() -> None:
        if contacts.model_id is None:
            return
        guest("The report", lambda: by_itself(REPORT, journal, environ), GUEST_SECONDS, journal)
        guest("Keeping the run on the Hub", lambda: keep_on_hub(api, contacts, journal), 60, journal)

    def tell() -> dict[str, Any]:
        record = journal.write_run_record()
        if contacts.urls:
            guest("The notification", lambda: send(record, redact, contacts, journal), 60, journal)
        if "tracking" in record and ("told" not in record or "pause_failed" in record):
            guest("W&B", lambda: by_itself(TRACKING, journal, environ), GUEST_SECONDS, journal)
        return journal.write_run_record()

    journal.write_run_record()
    try:
        if not interrupted:
            keep()
        record = tell()
        if contacts.model_id:  # of bad settings everything is said by now
            print(redact(summary(record)), flush=True)
    except Exception:  # whatever it is, the Space is paused
        logger.exception("A bug kept the run from being told")
    if contacts.token and contacts.space_id:
        pause_or_stay(api, contacts.space_id, journal, tell, interrupted=interrupted)
    if interrupted:
        keep()
    return str(journal.write_run_record()["outcome"])


def by_itself(module: str, journal: Journal, environ: Mapping[str, str]) -> None:
    """Run a module on the run's folder in a process of its own: it is heavy, and its end is not ours."""
    command = [sys.executable, "-m", module, str(journal.folder)]
    done = subprocess.run(  # noqa: S603 (our own command)
        command, cwd=SOURCE, env=dict(environ), capture_output=True, text=True, timeout=PROCESS_SECONDS
    )
    if done.returncode:
        logger.error("%s: %s", module, done.stderr.strip())
        raise RuntimeError(f"{module} ended with exit code {done.returncode}. See the log.")


def keep_on_hub(api: Any, contacts: Contacts, journal: Journal) -> None:
    """Put run.json and report.html where they outlive this container."""
    from retrain.reporting.history import publish_run

    journal.write("kept", url=publish_run(api, str(contacts.model_id), journal.folder))


def send(record: Mapping[str, Any], redact: Redactor, contacts: Contacts, journal: Journal) -> None:
    """Send the summary to everybody who is to know."""
    from retrain.reporting.notification import notify

    about, text = redact(title(record)), redact(summary(record))
    for warning in notify(contacts.urls, about, text, good=is_good(record)):
        journal.warn(warning)


def refuse(error: SettingsError, environ: Mapping[str, str]) -> int:
    """Tell what is wrong with the settings, first of all; then end as any run, as far as that can be."""
    variables = clean_environment(environ)
    token, urls = variables.get("HF_TOKEN"), split_urls(variables.get("NOTIFY_URLS"))
    redact = Redactor(
        [token or "", *urls, variables.get("API_TOKEN", ""), variables.get("WANDB_API_KEY", "")]
    )
    set_up_logging(redact)
    print(redact(str(error)), file=sys.stderr, flush=True)
    try:
        journal = new_journal(Path(variables.get("RUN_DIR", "runs")), "bad_settings", redact)
    except SettingsError as cause:
        logger.warning("%s", cause)
        journal = new_journal(Path(tempfile.gettempdir()), "bad_settings", redact)
    journal.write("started", folder=str(journal.folder))
    journal.write("outcome", outcome=error.outcome, reasons=str(error).splitlines())
    # Somebody may have the port, or it is what is wrong.
    with contextlib.suppress(SettingsError, ValueError, OverflowError):
        from retrain.lifecycle.status_page import open_port, serve

        serve(open_port(int(variables.get("PORT", "7860"))), journal)
    space_id = variables.get("RETRAIN_SPACE_ID") or variables.get("SPACE_ID")
    outcome = finish(journal, redact, Contacts(token, space_id, urls=urls), environ)
    return OUTCOMES[outcome].exit_code


if __name__ == "__main__":
    # HF_ENDPOINT and the like are read by the libraries; our own settings stay raw, to be cleaned just once.
    ours = {name.upper() for name in BaseConfig.model_fields}
    os.environ.update({k: v for k, v in clean_environment(os.environ).items() if k not in ours})
    sys.exit(main(os.environ))
