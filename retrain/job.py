"""A batch job in a Space, or as a Job of the Hub: settings, port, one child process, and the end of the run.

Imports nothing heavy, so that bad settings show at once and the port opens in time. The exit code is the
run's outcome (records.OUTCOMES; 128 + the signal's number for an interrupted run).
"""

import contextlib
import logging
import os
import re
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from configs import RunSettings, clean_environment, split_urls
from retrain.errors import HubError, Interrupted, RetrainError, SettingsError, bug_reason
from retrain.events import Ended, Started
from retrain.journal import Journal
from retrain.library_variables import take_out_unusable
from retrain.lifecycle.hub_job import JOB_ID, is_hub_job, warning_of_time
from retrain.lifecycle.webhook import Delivery
from retrain.records import OUTCOMES
from retrain.redaction import Redactor, set_up_logging
from retrain.reporting.summary import is_good, message, summary, title
from retrain.run_record import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger("retrain")

Config = TypeVar("Config", bound=RunSettings)


@dataclass(frozen=True)
class Steps:
    """What happens at the end beside message and pause: see lifecycle.ending.Ending."""

    keep: Mapping[str, Callable[[], object]]
    send: Mapping[str, Callable[[RunRecord], object]]


@dataclass(frozen=True)
class Job(Generic[Config]):
    """What one batch job has of its own.

    command: the process that does the work, to which the run's folder is added; settings: their class; read:
    makes them of the environment; own_space: the Space to pause, from clean variables; at_the_end: its own
    steps there; name: what it is called in titles, unless it retrains; stages: those that it usually has;
    why_not: why a run that a webhook has started is not due, if one may start it.
    """

    command: Sequence[str]
    settings: type[Config]
    read: Callable[[Mapping[str, str]], Config]
    own_space: Callable[[Mapping[str, str]], str | None]
    at_the_end: Callable[[Journal, Config, Mapping[str, str], "HfApi"], Steps] = lambda *_: Steps({}, {})
    name: str | None = None
    stages: tuple[str, ...] = ()
    why_not: Callable[[Config, Delivery, "HfApi"], str | None] | None = None


def start(job: Job[Any]) -> int:
    """Run a job in this process with the process's environment; returns the exit code."""
    # HF_ENDPOINT and the like are read by the libraries; our own settings stay raw, to be cleaned just once.
    ours = {name.upper() for name in job.settings.model_fields}
    cleaned = clean_environment(os.environ).items()
    os.environ.update({k: v for k, v in cleaned if k not in ours and not k.startswith("WEBHOOK_")})
    for stream in (sys.stdout, sys.stderr):  # which PYTHONIOENCODING may have made one of ASCII
        cast(TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    return run(job, os.environ, take_out_unusable(os.environ))


def run(job: Job[Any], environ: Mapping[str, str], warnings: Sequence[str] = ()) -> int:
    """Run once; whatever happens, record it, notify people and pause the Space. Returns the exit code.

    warnings: what is wrong with the environment beside the settings.
    """
    try:
        config = job.read(environ)
        delivery = Delivery.found_in(environ) if job.why_not else None
        redact = Redactor([*config.secrets, *(delivery.secrets if delivery else ())])
        set_up_logging(redact)
        if delivery and (reason := why_not(job, config, delivery)):
            print(redact(reason), flush=True)
            return 0
        warnings = [*warnings, *warnings_of_job(config, environ)]
        from retrain.lifecycle.status_page import open_port

        listener = None if is_hub_job(environ) else open_port(config.port)
        journal = new_journal(config.run_dir, config.what, redact)
    except SettingsError as error:
        return refuse(job, error, environ, warnings)

    from retrain.hub.cache import check_cache
    from retrain.lifecycle.status_page import serve
    from retrain.lifecycle.supervisor import Limits, run_child
    from retrain.processes import interruptible

    signum, show = 0, lambda: False
    try:
        with interruptible():
            if listener:
                show = serve(listener, journal).show_to_all
            begin(job, journal, config, environ)
            for warning in warnings:
                journal.warn(warning)
            check_cache(environ)
            limits = Limits(config.max_run_minutes, config.stall_minutes)
            run_child([*job.command, str(journal.folder)], environ, journal, redact, limits)
    except Interrupted as error:
        signum = error.signum
        journal.write(Ended(error.outcome, (str(error),)))
    except RetrainError as error:
        logger.error("%s", error)
        journal.write(Ended(error.outcome, (str(error),)))
    except Exception as error:  # whatever it is, the Space is paused
        logger.exception("A bug ended the supervision of the run")
        journal.write(Ended("bug", (bug_reason(error),)))
    outcome = end(job, journal, config, environ, show, interrupted=bool(signum))
    return 128 + signum if outcome == "interrupted" else OUTCOMES[outcome].exit_code


def why_not(job: Job[Any], config: RunSettings, delivery: Delivery) -> str | None:
    """Why what a webhook has started is not due; None if it is.

    Raises:
        SettingsError: the webhook is not ours.
    """
    from retrain.hub.client import connect

    return job.why_not(config, delivery, connect(config.token)) if job.why_not else None


def warnings_of_job(config: RunSettings, environ: Mapping[str, str]) -> list[str]:
    """What may end a Job of the Hub before its run.

    Raises:
        SettingsError: its time-out does.
    """
    if not is_hub_job(environ):
        return []
    from retrain.hub.client import connect
    from retrain.hub.jobs import own_timeout

    try:
        seconds = own_timeout(connect(config.token), environ[JOB_ID])
    except HubError as error:
        return [f"How long this Job may take could not be read: {error}"]
    warning = warning_of_time(seconds, config.max_run_minutes)
    return [warning] if warning else []


def space_to_pause(job: Job[Any], variables: Mapping[str, str]) -> str | None:
    """The Space that is paused at the end; a Job of the Hub ends with its process, and pauses none."""
    return None if is_hub_job(variables) else job.own_space(variables)


def new_journal(run_dir: Path, what: str, redact: Redactor) -> Journal:
    """A folder of its own for this run; the random end keeps two runs of one second apart.

    Raises:
        SettingsError: RUN_DIR can't be written.
    """
    name = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_{what}_{uuid.uuid4().hex[:4]}"
    try:
        return Journal.create(run_dir.resolve() / name, redact)
    except OSError as error:
        raise SettingsError(f"RUN_DIR={run_dir} can't be written ({error.strerror}).") from error


def begin(job: Job[Any], journal: Journal, config: RunSettings, environ: Mapping[str, str]) -> None:
    """Record and log what the run starts with."""
    settings = config.public_values()
    journal.write(Started(str(journal.folder), config.what, settings, job.name, job.stages))
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
    job: Job[Any],
    journal: Journal,
    config: RunSettings,
    environ: Mapping[str, str],
    show: Callable[[], object],
    *,
    interrupted: bool,
) -> str:
    """Keep the report, notify people, pause the Space; returns the outcome."""
    from retrain.hub.client import connect
    from retrain.hub.spaces import Space
    from retrain.lifecycle.ending import Ending

    api, space_id = connect(config.token, journal), space_to_pause(job, clean_environment(environ))
    steps = job.at_the_end(journal, config, environ, api)
    record = Ending(
        journal,
        keep=steps.keep,
        send={
            "The notification": partial(notify_people, split_urls(config.notify_urls), journal),
            **steps.send,
        },
        say=partial(print_summary, journal.redact),
        show=show,
        space=Space(api, space_id) if space_id else None,
        inside=is_inside(space_id, environ),
    ).finish(interrupted=interrupted)
    return record.outcome or "bug"  # a journal that can't be read has none


def refuse(job: Job[Any], error: SettingsError, environ: Mapping[str, str], warnings: Sequence[str]) -> int:
    """Say what is wrong with the settings, first of all; then end as any run, as far as that can be done."""
    variables = clean_environment(environ)
    urls, given = split_urls(variables.get("NOTIFY_URLS")), variables.get("HF_TOKEN", "")
    token = re.sub("[^!-~]", "", given)  # what was copied with it may be what is wrong
    others = (variables.get(name.upper(), "") for name in job.settings.secret_names() - {"notify_urls"})
    redact = Redactor([given, token, *urls, *others])
    set_up_logging(redact)
    print(redact(str(error)), file=sys.stderr, flush=True)
    try:
        journal = new_journal(Path(variables.get("RUN_DIR", "runs")), "bad_settings", redact)
    except SettingsError as cause:
        logger.warning("%s", cause)
        journal = new_journal(Path(tempfile.gettempdir()), "bad_settings", redact)
    journal.write(Started(str(journal.folder), job=job.name))
    for warning in warnings:
        journal.warn(warning)
    journal.write(Ended(error.outcome, tuple(str(error).splitlines())))
    # Something else may listen on the port, or it is what is wrong.
    with contextlib.suppress(SettingsError, ValueError, OverflowError):
        from retrain.lifecycle.status_page import open_port, serve

        if not is_hub_job(variables):
            serve(open_port(int(variables.get("PORT", "7860"))), journal)

    from retrain.hub.client import connect
    from retrain.hub.spaces import Space
    from retrain.lifecycle.ending import Ending

    space_id = space_to_pause(job, variables)
    space = Space(connect(token, journal), space_id) if token and space_id else None
    send = {"The notification": partial(notify_people, urls, journal)}
    inside = is_inside(space_id, variables)
    record = Ending(journal, keep={}, send=send, space=space, inside=inside).finish()
    return OUTCOMES[record.outcome or error.outcome].exit_code


def is_inside(space_id: str | None, environ: Mapping[str, str]) -> bool:
    """Whether this process runs in that Space: the platform sets SPACE_ID there."""
    return bool(space_id) and environ.get("SPACE_ID", "").casefold() == str(space_id).casefold()


def notify_people(urls: Sequence[str], journal: Journal, record: RunRecord) -> None:
    """Send the message to everybody who is to know."""
    if not urls:
        return
    from retrain.reporting.notification import notify

    redact = journal.redact
    for warning in notify(urls, redact(title(record)), redact(message(record)), good=is_good(record)):
        journal.warn(warning)


def print_summary(redact: Callable[[str], str], record: RunRecord) -> None:
    """The last words in the log."""
    print(redact(summary(record)), flush=True)
