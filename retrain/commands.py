"""What an operator can do by hand, as commands of `python -m retrain`.

A command reads the job's settings from the environment, or from a file. It imports what it needs when called.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs import BaseConfig, clean_environment, get_config
from retrain.errors import RetrainError, SettingsError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from retrain.hub.model_repo import ModelRepo
    from retrain.release.inference_space import InferenceSpace
    from retrain.setup.plan import Step

app = typer.Typer(
    name="retrain",
    help="Set up, look at and roll back an automatically retrained text classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
EnvFile = Annotated[Path, typer.Argument(help="The settings of the installation; see .env.example.")]
Installation = Annotated[Path, typer.Option("--env-file", help="The installation's settings.")]
FromFile = Annotated[
    Path | None, typer.Option("--env-file", help="Read the settings from this file, not the environment.")
]


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns 0 if done, 1 if something is wrong, 2 if call or settings can't be used."""
    try:
        app(arguments, prog_name="python -m retrain")
    except SystemExit as end:  # typer says what is wrong with a call, and exits with 2
        return int(end.code or 0)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except RetrainError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@app.command()
def setup(
    env_file: EnvFile = Path(".env"),
    yes: Annotated[bool, typer.Option("--yes", help="Do what the plan says.")] = False,
    renew_secrets: Annotated[
        bool, typer.Option("--renew-secrets", help="Set the secrets that are there already, too.")
    ] = False,
) -> None:
    """Plan an installation on the Hub, or make it.

    With LABEL=urgency,department and {label} in the names, one file stands for two installations. Done twice,
    it changes nothing the second time. Secrets can't be read back from the Hub: one that is there stays.
    """
    from retrain.hub.client import check_token, connect, hub_errors
    from retrain.hub.spaces import Space
    from retrain.setup.companions import companions_of
    from retrain.setup.installation import (
        READ_TOKEN,
        SCHEDULE,
        installations,
        is_job,
        warnings_of,
    )
    from retrain.setup.plan import plan, plan_space
    from retrain.setup.schedule import Schedule, schedule_in

    found, companions = installations(env_file), companions_of(env_file)
    for warning in warnings_of(found):
        print(f"  !! {warning}")
    for values in found:
        api = connect(values["HF_TOKEN"])
        print(f"{values['LABEL']}:")
        if READ_TOKEN not in values:
            print(
                f"  note: without {READ_TOKEN} the inference Space holds a token that may write (SECURITY.md)"
            )
        check_token(api)
        with hub_errors("set up", values["SPACE_REPO_ID"]):
            steps = [*plan(api, values, renew_secrets=renew_secrets)]
            if is_job(values) or SCHEDULE in values:
                when = schedule_in(values)
                steps += Schedule(api, values).steps(when, renew_secrets=renew_secrets)
            _carry_out(steps, yes=yes)
    for what, spec in companions.items():
        print(f"{what}:")
        with hub_errors("set up", spec.repo_id):
            space = Space(api, spec.repo_id)
            _carry_out(plan_space(space, spec, renew_secrets=renew_secrets), yes=yes)


def _carry_out(steps: "Iterable[Step]", *, yes: bool) -> None:
    """Do the steps of a plan, or only say what they are."""
    steps = list(steps)
    for step in steps:
        if yes:
            step.do()
        print(f"  {'done' if yes else 'would'}: {step.what}")
    if not steps:
        print("  everything is as it should be; secrets that are there were not compared (--renew-secrets)")
    elif not yes:
        print("  Nothing was changed. Do it with --yes.")


@app.command()
def check(env_file: EnvFile = Path(".env")) -> None:
    """Diagnose an installation, with remedies."""
    from retrain.hub.client import connect
    from retrain.setup.companions import companions_of
    from retrain.setup.diagnosis import diagnose, diagnose_companion
    from retrain.setup.installation import installations, warnings_of

    found, companions = installations(env_file), companions_of(env_file)
    wrong = False
    for warning in warnings_of(found):
        print(f"  !!  {warning}")
        wrong = True
    diagnoses = {each["LABEL"]: diagnose(connect(each["HF_TOKEN"]), each) for each in found}
    for what, spec in companions.items():
        diagnoses[what] = diagnose_companion(connect(found[0]["HF_TOKEN"]), spec)
    for what, findings in diagnoses.items():
        print(f"{what}:")
        for finding in findings:
            print(f"  {'!!' if finding.remedy else 'ok'}  {finding.what}: {finding.state}")
            if finding.remedy:
                print(f"      {finding.remedy}")
                wrong = True
    if wrong:
        raise typer.Exit(1)


@app.command()
def schedule(
    when: Annotated[
        str | None,
        typer.Argument(
            help="@hourly, @daily, @weekly …, a cron line, or now; SCHEDULE or @daily by default."
        ),
    ] = None,
    env_file: Installation = Path(".env"),
    on_new_version: Annotated[
        bool, typer.Option("--on-new-version", help="Also start it for each new version of the data set.")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="Show what there is, and change nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Delete scheduled Job and webhook.")] = False,
    renew_secrets: Annotated[
        bool, typer.Option("--renew-secrets", help="Make them anew, with the secrets of the file.")
    ] = False,
) -> None:
    """Run the job by a schedule, as a Job of the Hub.

    It has the image, variables and secrets of the retrain Space, and time for MAX_RUN_MINUTES. Done twice, it
    changes nothing the second time. With "now" the scheduled Job runs once at once, too.
    """
    from retrain.hub.client import connect
    from retrain.setup.installation import installations
    from retrain.setup.schedule import Schedule, check_schedule, schedule_in

    if (show, remove, bool(when) or on_new_version).count(True) > 1:
        raise SettingsError("--list and --remove stand without a schedule and without each other.")
    for values in installations(env_file):
        print(f"{values['LABEL']}:")
        wanted = check_schedule(when) if when and when != "now" else schedule_in(values)
        installed = Schedule(connect(values["HF_TOKEN"]), values)
        if show:
            for line in list(installed.lines()) or ["nothing is scheduled"]:
                print(f"  {line}")
            continue
        if remove:
            steps = list(installed.removal())
        else:
            steps = list(installed.steps(wanted, renew_secrets=renew_secrets))
            steps += installed.webhook_steps(renew_secrets=renew_secrets) if on_new_version else []
        for step in steps:
            step.do()
            print(f"  done: {step.what}")
        if not steps:
            print("  nothing is scheduled" if remove else "  everything is as it should be")
        if when == "now":
            print(f"  runs now: {installed.run_now()}")


@app.command()
def push(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet: grievance or text, and a label.")],
    to: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The data set repository.")],
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Take the splits from the file's column split.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Push without asking.")] = False,
    env_file: FromFile = None,
) -> None:
    """Push a file of grievances as a new, private version of a data set.

    Of the settings it needs LABEL, LABELS for a label set of your own, and HF_TOKEN unless you are logged in.
    It shows what it found and how the rows are split, then asks. Texts that are there keep their split.
    """
    from retrain.hub.client import connect
    from retrain.hub.dataset_repo import DatasetRepo
    from retrain.setup.data_push import prepare
    from retrain.setup.installation import settings_in

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", to, re.ASCII):
        raise SettingsError(f"--to={to!r} should look like owner/name.")
    values = settings_in(env_file) if env_file else clean_environment(os.environ)
    config = label_settings(values)
    repo = DatasetRepo(connect(values.get("HF_TOKEN")), to)
    prepared = prepare(repo, file, config.label, config.label2id, as_is=as_is)
    for line in prepared.lines:
        print(f"  {line}")
    if not yes and not typer.confirm(f"Push this to {to}, private?"):
        print("Nothing was pushed.")
        return
    tag = repo.publish(prepared.splits)
    print(f"{to} has the version {tag}: the Hub's viewer shows its rows to whoever may see it.")


@app.command()
def versions(env_file: FromFile = None) -> None:
    """List the versions on the Hub, and which one serves."""
    for config in _configs(env_file):
        _, repo, space = _connect(config)
        served = space.served().version
        print(f"{'version':<18} {'macro F1':>8}  {'released (UTC)':<20} {'data set':<44} notes")
        for version, metadata in repo.history(most=50):
            f1, data = _part(metadata, "eval_metrics").get("f1_macro"), _part(metadata, "dataset")
            dataset = (
                f"{data.get('repo_id', '?')} {data.get('version_tag') or str(data.get('revision'))[:12]}"
            )
            notes = ["serves now"] if served and served.revision == version.revision else []
            notes += ["given up"] if version.given_up else []
            notes += [f"restored from {metadata['restored_from']}"] if "restored_from" in metadata else []
            line = (
                f"{version.tag:<18} {format(f1, '.4f') if isinstance(f1, float) else '?':>8}  "
                f"{str(metadata.get('timestamp_utc', '?'))[:19]:<20} {dataset:<44} {', '.join(notes)}"
            )
            print(line.rstrip())


@app.command()
def rollback(
    to: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="By default the version that served before the newest."),
    ] = None,
    env_file: FromFile = None,
) -> None:
    """Restore an earlier version, and see that it serves."""
    from retrain.errors import HubError
    from retrain.release.rollback import (
        Deployment,
        any_answer,
        banned_copies,
        copies,
        left_behind,
        version_to_restore,
    )

    (config,) = _configs(env_file, "rollback is for one label set: put LABEL=… in front of the command.")
    _, repo, space = _connect(config)
    version = version_to_restore(repo, to)
    name = version.tag or version.revision
    served, newest = space.served().version, repo.newest()
    if served and newest and served.revision == newest.revision and name in copies(repo, newest):
        print(f"{space.space_id} serves {name} already: nothing was done.")
        return
    if given_up := left_behind(repo, version):
        print(
            f"This gives up {', '.join(str(each.tag) for each in given_up)}: no run will release a model of "
            "the same data set, checkpoint and training settings again, until you go back to it with --to."
        )
    for each in given_up:
        if not repo.mark("given-up-", each.tag, each.revision):
            raise HubError(f"{each.tag} could not be given up, so nothing was rolled back. Try once more.")
    for each in banned_copies(repo, version):
        repo.unmark("given-up-", each.tag)
    deployment = Deployment(repo, space, any_answer, config.rollout_timeout_minutes)
    restored = deployment.roll_back(version, cause="by hand", on_state=print)
    print(f"{name} was restored as {restored.version_tag}, and {space.space_id} serves it.")


@app.command()
def history(env_file: FromFile = None) -> None:
    """List the runs, their figures and success rates, and the versions that served."""
    from retrain.errors import HubError
    from retrain.hub.run_archive import RunArchive
    from retrain.reporting.history import history_lines, those_that_served

    for config in _configs(env_file):
        api, repo, space = _connect(config)
        runs = RunArchive(api, repo.repo_id).read()
        if not runs:
            raise HubError(f"{repo.repo_id} has no record of a run yet.")
        now = space.served().version
        for line in history_lines(runs, those_that_served(repo.history(most=50)), now.tag if now else None):
            print(line)


@app.command()
def orchestrate(
    env_file: Installation = Path(".env"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    history: Annotated[bool, typer.Option("--history", help="List what was asked for.")] = False,
) -> None:
    """Start what is due: a new version of the data set, then a retraining on it.

    Safe to run at any time, twice at once, and again after it was killed. It waits until what it started has
    ended.
    """
    from retrain.hub.client import connect
    from retrain.orchestrator.settings import rules_of
    from retrain.orchestrator.turns import Wheel, run_until_done, table
    from retrain.orchestrator.waiting import count_waiting
    from retrain.redaction import Redactor, set_up_logging
    from retrain.setup.companions import preparation_of
    from retrain.setup.installation import settings_in

    if (preparation := preparation_of(env_file)) is None:
        raise SettingsError(
            f"{env_file}: orchestrate needs PREPARE_SPACE_ID, the Space that makes data sets."
        )
    rules, wheels = rules_of(settings_in(env_file)), []
    values = {**preparation.variables, **{name: text for name, text in preparation.secrets.items() if text}}
    for config in _configs(env_file):
        if config.retrain_space_id is None:
            raise SettingsError(f"{env_file}: orchestrate needs RETRAIN_SPACE_ID; Jobs start by `schedule`.")
        set_up_logging(Redactor([*config.secrets, *preparation.secrets.values()]))
        api = connect(config.token)
        wheels.append(Wheel(config, api, preparation.repo_id, partial(count_waiting, values), rules))
    if history:
        for wheel in wheels:
            for line in table(wheel.ledger.read()):
                print(f"{wheel.config.label}: {line}" if len(wheels) > 1 else line)
        return
    if not run_until_done(wheels, print, dry_run=dry_run):
        raise typer.Exit(1)


@app.command()
def review(
    reviewer: Annotated[str, typer.Option("--as", metavar="NAME", help="Who reviews.")],
    env_file: Installation = Path(".env"),
) -> None:
    """Review officers' corrections on the terminal, as on the page of the review Space."""
    from retrain.setup.companions import review_on_terminal

    if code := review_on_terminal(env_file, reviewer):
        raise typer.Exit(code)


@app.command()
def verdict(file: Annotated[Path, typer.Argument(help="comparison.parquet of a run.")]) -> None:
    """Compute the verdict of a run again, from its rows."""
    from retrain.evaluation.comparison import load_comparison
    from retrain.evaluation.decision_gate import decide

    decided = decide(*load_comparison(file))
    print("\n".join([decided.outcome.upper(), *(f"  {reason}" for reason in decided.reasons)]))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="The folder of a run, below RUN_DIR.")]) -> None:
    """Write the report of a run again."""
    from retrain.reporting.report import write_report

    if not (folder / "events.jsonl").exists():
        raise SettingsError(f"{folder} is no folder of a run: it has no events.jsonl.")
    print(write_report(folder))


def _part(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of metadata.json; empty if somebody else wrote another shape."""
    part = metadata.get(name)
    return part if isinstance(part, dict) else {}


def _configs(env_file: Path | None, one: str | None = None) -> Iterator[BaseConfig]:
    """The settings of the environment, or of each label set in a file (LABEL in the environment chooses one).

    one: what to say if there are several.
    """
    if env_file is None:
        yield get_config()
        return
    from retrain.setup.installation import installations

    found = {values["LABEL"]: values for values in installations(env_file)}
    chosen = [
        name.strip() for name in clean_environment(os.environ).get("LABEL", "").split(",") if name.strip()
    ]
    if unknown := [name for name in chosen if name not in found]:
        raise SettingsError(
            f"LABEL={', '.join(unknown)} of the environment is not in {env_file}: {', '.join(found)}."
        )
    names = chosen or list(found)
    if one and len(names) != 1:
        raise SettingsError(f"{env_file}: {one}")
    yield from (get_config(found[name]) for name in names)


def label_settings(values: Mapping[str, str]) -> BaseConfig:
    """The settings LABEL and LABELS, checked; what a run needs besides is filled in."""
    needed = ("HF_TOKEN", "DATASET_REPO_ID", "HUB_MODEL_ID", "SPACE_REPO_ID")
    filled = dict.fromkeys(needed, "not/used") | {"API_ENDPOINT": "https://not.used/"}
    return get_config(filled | {name: values[name] for name in ("LABEL", "LABELS") if name in values})


def _connect(config: BaseConfig) -> "tuple[HfApi, ModelRepo, InferenceSpace]":
    """The Hub, the model repository and the inference Space of some settings; the log masks their secrets."""
    from retrain.connections import inference_space, live_model
    from retrain.hub.client import connect
    from retrain.hub.model_repo import ModelRepo
    from retrain.hub.spaces import Space
    from retrain.redaction import Redactor, set_up_logging

    set_up_logging(Redactor(config.secrets))
    api = connect(config.hf_token.get_secret_value())
    space = Space(api, config.space_repo_id)
    live = live_model(space, config)
    return api, ModelRepo(api, config.hub_model_id), inference_space(space, live, restart=space.restart)
