"""Entry point of the retrain Space: settings, port, one training process, and the end of the run.

Imports nothing heavy, so that bad settings show at once and the port opens in time. The exit code is the
run's outcome (records.OUTCOMES; 128 + the signal's number for an interrupted run).
"""

import contextlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, cast

from configs import BaseConfig, clean_environment, get_config, in_both_roles, split_urls
from retrain.errors import Interrupted, RetrainError, SettingsError, bug_reason
from retrain.events import Archived, Ended, Started
from retrain.journal import Journal
from retrain.library_variables import take_out_unusable
from retrain.records import OUTCOMES
from retrain.redaction import Redactor, set_up_logging
from retrain.reporting.summary import is_good, summary, title
from retrain.run_record import RunRecord

if TYPE_CHECKING:
    from retrain.hub.run_archive import RunArchive

SOURCE = Path(__file__).parent
TRAINING = (sys.executable, "-u", str(SOURCE / "model_pipeline.py"))
PROCESS_SECONDS = 75.0  # for the report, and for W&B: less than ending.STEP_SECONDS, which covers it

logger = logging.getLogger("retrain")


def main(environ: Mapping[str, str], warnings: Sequence[str] = ()) -> int:
    """Run once; whatever happens, record it, notify people and pause the Space. Returns the exit code.

    warnings: what is wrong with the environment beside the settings.
    """
    try:
        config = get_config(environ)
        redact = Redactor(config.secrets)
        set_up_logging(redact)
        from retrain.lifecycle.status_page import open_port

        listener = open_port(config.port)
        journal = new_journal(config.run_dir, config.label, redact)
    except SettingsError as error:
        return refuse(error, environ, warnings)

    from retrain.hub.cache import check_cache
    from retrain.lifecycle.status_page import serve
    from retrain.lifecycle.supervisor import Limits, run_child
    from retrain.processes import interruptible

    signum = 0
    try:
        with interruptible():
            serve(listener, journal)
            begin(journal, config, environ)
            for warning in warnings:
                journal.warn(warning)
            check_cache(environ)
            limits = Limits(config.max_run_minutes, config.stall_minutes)
            run_child([*TRAINING, str(journal.folder)], environ, journal, redact, limits)
    except Interrupted as error:
        signum = error.signum
        journal.write(Ended(error.outcome, (str(error),)))
    except RetrainError as error:
        logger.error("%s", error)
        journal.write(Ended(error.outcome, (str(error),)))
    except Exception as error:  # whatever it is, the Space is paused
        logger.exception("A bug ended the supervision of the run")
        journal.write(Ended("bug", (bug_reason(error),)))
    outcome = end(journal, config, environ, redact, interrupted=bool(signum))
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


def begin(journal: Journal, config: BaseConfig, environ: Mapping[str, str]) -> None:
    """Record and log what the run starts with."""
    settings = config.public_values()
    journal.write(Started(str(journal.folder), config.label, settings))
    for name, value in settings.items():
        source = "environment" if name in environ else "default"
        logger.info("%s = %s (%s)", name, value, source)
    for name in config.short_secrets():
        journal.warn(
            f"{name} is shorter than 8 characters: a guess finds it, and masking it hides words of the "
            "log. Make a longer one."
        )
    if urls := split_urls(config.notify_urls):
        from retrain.reporting.notification import warnings_before

        for warning in warnings_before(urls, on_a_space="SPACE_ID" in environ):
            journal.warn(warning)


def end(
    journal: Journal, config: BaseConfig, environ: Mapping[str, str], redact: Redactor, *, interrupted: bool
) -> str:
    """Keep the report, notify people, pause the Space; returns the outcome."""
    from retrain.hub.client import connect
    from retrain.hub.run_archive import RunArchive
    from retrain.hub.spaces import Space
    from retrain.lifecycle.ending import Ending

    api = connect(config.hf_token.get_secret_value(), journal)
    record = Ending(
        journal,
        keep={
            "The report": partial(run_apart, journal, environ, "retrain", "report"),
            "Keeping the run on the Hub": partial(archive, RunArchive(api, config.hub_model_id), journal),
        },
        send={
            "The notification": partial(notify_people, split_urls(config.notify_urls), journal, redact),
            "W&B": partial(finish_tracking, journal, environ),
        },
        say=partial(print_summary, redact),
        space=Space(api, config.retrain_space_id) if config.retrain_space_id else None,
        inside=is_inside(config.retrain_space_id, environ),
    ).finish(interrupted=interrupted)
    return record.outcome or "bug"  # a journal that can't be read has none


def refuse(error: SettingsError, environ: Mapping[str, str], warnings: Sequence[str]) -> int:
    """Say what is wrong with the settings, first of all; then end as any run, as far as that can be done."""
    variables = clean_environment(environ)
    urls, given = split_urls(variables.get("NOTIFY_URLS")), variables.get("HF_TOKEN", "")
    token = re.sub("[^!-~]", "", given)  # what was copied with it may be what is wrong
    others = (variables.get(name, "") for name in ("API_TOKEN", "WANDB_API_KEY", "AUDIT_KEY"))
    redact = Redactor([given, token, *urls, *others])
    set_up_logging(redact)
    print(redact(str(error)), file=sys.stderr, flush=True)
    try:
        journal = new_journal(Path(variables.get("RUN_DIR", "runs")), "bad_settings", redact)
    except SettingsError as cause:
        logger.warning("%s", cause)
        journal = new_journal(Path(tempfile.gettempdir()), "bad_settings", redact)
    journal.write(Started(str(journal.folder)))
    for warning in warnings:
        journal.warn(warning)
    journal.write(Ended(error.outcome, tuple(str(error).splitlines())))
    # Something else may listen on the port, or it is what is wrong.
    with contextlib.suppress(SettingsError, ValueError, OverflowError):
        from retrain.lifecycle.status_page import open_port, serve

        serve(open_port(int(variables.get("PORT", "7860"))), journal)

    from retrain.hub.client import connect
    from retrain.hub.spaces import Space
    from retrain.lifecycle.ending import Ending

    space_id = variables.get("RETRAIN_SPACE_ID") or variables.get("SPACE_ID")
    if in_both_roles(variables):
        space_id = None  # it is the Space that serves citizens
    space = Space(connect(token, journal), space_id) if token and space_id else None
    send = {"The notification": partial(notify_people, urls, journal, redact)}
    inside = is_inside(space_id, variables)
    record = Ending(journal, keep={}, send=send, space=space, inside=inside).finish()
    return OUTCOMES[record.outcome or error.outcome].exit_code


def is_inside(space_id: str | None, environ: Mapping[str, str]) -> bool:
    """Whether this process runs in that Space: the platform sets SPACE_ID there."""
    return bool(space_id) and environ.get("SPACE_ID", "").casefold() == str(space_id).casefold()


def run_apart(journal: Journal, environ: Mapping[str, str], module: str, *arguments: str) -> None:
    """Run a module on the run's folder in a process of its own: it is heavy, and its end is not ours."""
    command = [sys.executable, "-m", module, *arguments, str(journal.folder)]
    done = subprocess.run(  # noqa: S603 (our own command)
        command, cwd=SOURCE, env=dict(environ), capture_output=True, text=True, timeout=PROCESS_SECONDS
    )
    if done.returncode:
        logger.error("%s: %s", module, done.stderr.strip())
        raise RuntimeError(f"{module} ended with exit code {done.returncode}. See the log.")


def archive(runs: "RunArchive", journal: Journal) -> None:
    """Put run.json and report.html where they outlive this container."""
    journal.write(Archived(runs.add(journal.folder)))


def notify_people(urls: Sequence[str], journal: Journal, redact: Redactor, record: RunRecord) -> None:
    """Send the summary to everybody who is to know."""
    if not urls:
        return
    from retrain.reporting.notification import notify

    for warning in notify(urls, redact(title(record)), redact(summary(record)), good=is_good(record)):
        journal.warn(warning)


def finish_tracking(journal: Journal, environ: Mapping[str, str], record: RunRecord) -> None:
    """Close the run on W&B if the training process could not, or say there that the pause failed."""
    if record.tracking and (record.told is None or record.pause_failed):
        run_apart(journal, environ, "retrain.reporting.tracking")


def print_summary(redact: Redactor, record: RunRecord) -> None:
    """The last words in the log."""
    print(redact(summary(record)), flush=True)


if __name__ == "__main__":
    # HF_ENDPOINT and the like are read by the libraries; our own settings stay raw, to be cleaned just once.
    ours = {name.upper() for name in BaseConfig.model_fields}
    os.environ.update({k: v for k, v in clean_environment(os.environ).items() if k not in ours})
    for stream in (sys.stdout, sys.stderr):  # which PYTHONIOENCODING may have made one of ASCII
        cast(TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    sys.exit(main(os.environ, take_out_unusable(os.environ)))
