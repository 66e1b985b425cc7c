"""The way back, and the end of what a run that was cut short has left half done."""

import re
from collections.abc import Callable

from huggingface_hub import HfApi

from configs import BaseConfig
from retrain.errors import ReleaseError, RetrainError, RolledBackError, RolloutError
from retrain.hub.model_repo import finish_release, restore_version
from retrain.hub.versions import (
    GIVEN_UP,
    VERIFIED,
    history,
    list_versions,
    mark,
    published_head,
    read_metadata,
)
from retrain.journal import Journal
from retrain.records import Release, Version
from retrain.release.rollout import ANY_ANSWER, Canary, Service, roll_out

ExpectedOf = Callable[[Version], Canary]  # what a version must answer to some test texts


def roll_back(
    api: HfApi,
    config: BaseConfig,
    service: Service,
    to: Version,
    *,
    cause: str,
    expected_of: ExpectedOf,
    on_state: Callable[[str], None] = lambda state: None,
) -> Release:
    """Restore an earlier version, restart the Space, and see that it serves it.

    Raises:
        RolloutError: that failed too; says in which state everything is, and the commands that mend it.
    """
    repo_id, name = config.hub_model_id, to.tag or to.revision
    try:
        restored = restore_version(api, repo_id, to, cause=cause)
        minutes = config.rollout_timeout_minutes
        roll_out(service, restored, expected_of(to), timeout_minutes=minutes, on_state=on_state)
    except RetrainError as error:
        raise RolloutError(
            f"Going back to {name} failed too: {error} {_state(api, repo_id, service)} When the cause is "
            "mended:\n  python -m retrain.release.rollout versions\n"
            f"  python -m retrain.release.rollout rollback --to {name}"
        ) from error
    mark(api, repo_id, VERIFIED, restored.version_tag, restored.revision)
    return restored


def bring_into_service(
    api: HfApi,
    config: BaseConfig,
    service: Service,
    release: Release,
    previous: Version | None,
    canary: Canary,
    expected_of: ExpectedOf,
    journal: Journal,
) -> None:
    """Roll a release out; where it does not come up, bring the previous version back.

    canary, expected_of: what the release, and an earlier version, must answer.

    Raises:
        RolledBackError: the previous version serves again.
        RolloutError: none does, or not surely; the message says in which state everything is.
    """

    def on_state(state: str) -> None:
        journal.write("progress", stage="roll out", state=state)

    try:
        roll_out(service, release, canary, timeout_minutes=config.rollout_timeout_minutes, on_state=on_state)
    except RolloutError as error:
        if previous is None:
            raise RolloutError(f"{error} There is no version before it to go back to.") from error
        mark(api, config.hub_model_id, GIVEN_UP, release.version_tag, release.revision)
        journal.write("stage", name="roll back")
        if (newest := list_versions(api, config.hub_model_id)[0].tag) != release.version_tag:
            raise RolloutError(
                f"{error} Nothing was rolled back: {newest} was released by somebody else meanwhile."
            ) from error
        restored = roll_back(
            api,
            config,
            service,
            previous,
            cause=str(error),
            expected_of=expected_of,
            on_state=on_state,
        )
        journal.write("restored", **vars(restored))
        raise RolledBackError(
            f"{release.version_tag} was released and did not come into service: {error} "
            f"{previous.tag or previous.revision} was restored as {restored.version_tag} and serves. "
            f"Look at the log of {service.space_id} before the next run."
        ) from error
    mark(api, config.hub_model_id, VERIFIED, release.version_tag, release.revision)


def finish_earlier_release(
    api: HfApi, config: BaseConfig, service: Service, expected_of: ExpectedOf, journal: Journal
) -> None:
    """Finish a release that a run was killed in, or revert it where it does not come up; a warning says so.

    Versions that are not ours (their metadata.json names another tag, or none) are left alone.

    Raises:
        RolloutError: it could be neither finished nor reverted.
    """
    repo_id = config.hub_model_id
    tagged = finish_release(api, repo_id)
    versions = list_versions(api, repo_id)
    if not versions or versions[0].verified:
        return
    newest, *earlier = versions
    if read_metadata(api, repo_id, newest.revision).get("version_tag") != newest.tag:
        return
    cut_short = f"An earlier run was cut short in the release of {newest.tag}"
    cause = "it was given up"
    if not newest.given_up:
        release = tagged or Release(str(newest.tag), newest.revision, None, "")
        try:
            roll_out(service, release, expected_of(newest), timeout_minutes=config.rollout_timeout_minutes)
        except RolloutError as error:
            cause = str(error)
        else:
            mark(api, repo_id, VERIFIED, newest.tag, newest.revision)
            journal.warn(f"{cut_short}: {'its tag was made, and ' if tagged else ''}the Space serves it now.")
            return
    last_good = next((version for version in earlier if version.verified), None)
    if last_good is None:
        journal.warn(f"{cut_short}, and {cause}; no earlier version is known to have served.")
        return
    mark(api, repo_id, GIVEN_UP, newest.tag, newest.revision)
    restored = roll_back(api, config, service, last_good, cause=cause, expected_of=expected_of)
    journal.warn(
        f"{cut_short}, which does not come up ({cause}): {last_good.tag} was restored as "
        f"{restored.version_tag} and serves."
    )


def _state(api: HfApi, repo_id: str, service: Service) -> str:
    try:
        versions = list_versions(api, repo_id)
        newest = versions[0].tag if versions else "none"
        hub = f"main of {repo_id} is at {published_head(api, repo_id)[0]}, its newest version is {newest}"
    except RetrainError as error:
        hub = f"{repo_id} can't be read ({error})"
    served = service.served_version()
    serves = (served.tag or served.revision) if served else "a version that it does not tell"
    return f"Now {hub}; {service.space_id} is {service.stage()} and serves {serves}."


def show_versions(api: HfApi, config: BaseConfig, service: Service) -> str:
    """A table of the versions, the newest first: tag, macro F1, date, data set, and which one serves now."""
    served = service.served_version()
    lines = [f"{'version':<18} {'macro F1':>8}  {'released (UTC)':<20} {'data set':<44} notes"]
    for version, told in history(api, config.hub_model_id, most=50):
        f1 = told.get("eval_metrics", {}).get("f1_macro")
        data = told.get("dataset", {})
        dataset = f"{data.get('repo_id', '?')} {data.get('version_tag') or str(data.get('revision'))[:12]}"
        notes = ["serves now"] if served and served.revision == version.revision else []
        notes += ["given up"] if version.given_up else []
        notes += [f"restored from {told['restored_from']}"] if "restored_from" in told else []
        lines.append(
            f"{version.tag:<18} {'?' if f1 is None else format(f1, '.4f'):>8}  "
            f"{str(told.get('timestamp_utc', '?'))[:19]:<20} {dataset:<44} {', '.join(notes)}"
        )
    return "\n".join(line.rstrip() for line in lines)


def roll_back_by_hand(api: HfApi, config: BaseConfig, service: Service, to: str | None) -> str:
    """Restore the version `to` (a tag or a commit), or the one that the newest replaced; see that it serves.

    Raises:
        ReleaseError: there is no such version.
        RolloutError: see roll_back.
    """
    versions = {version.tag: version for version in list_versions(api, config.hub_model_id)}
    if to is None and versions:
        newest = next(iter(versions.values()))
        to = read_metadata(api, config.hub_model_id, newest.revision).get("previous_version")
    chosen = versions.get(to)
    if chosen is None and to and re.fullmatch(r"[0-9a-f]{40}", to):
        chosen = Version(None, to)
    if chosen is None:
        raise ReleaseError(
            f"{config.hub_model_id} has no version {to or 'before the newest'}. It has: "
            f"{', '.join(str(tag) for tag in versions) or 'none'}."
        )
    restored = roll_back(
        api, config, service, chosen, cause="by hand", expected_of=lambda version: ANY_ANSWER, on_state=print
    )
    return f"{to} was restored as {restored.version_tag}, and {config.space_repo_id} serves it."
