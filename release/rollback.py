"""The way back, and the end of what a run that was cut short has left half done."""

from collections.abc import Callable

from huggingface_hub import HfApi

from configs import BaseConfig
from errors import ReleaseError, RetrainError, RolledBackError, RolloutError
from release.model_release import finish_release, restore_version
from release.rollout import Canary, Service, roll_out
from release.versions import is_verified, list_versions, mark_verified, published_head, read_metadata
from run_record import Journal, Release, ServedVersion

# Without what a model gave here, all that can be asked is that it answers.
ANY_ANSWER = Canary(["नमस्कार"], [None])


def roll_back(
    api: HfApi,
    repo_id: str,
    service: Service,
    to: ServedVersion,
    *,
    head: str | None,
    cause: str,
    timeout_minutes: float,
    canary: Canary = ANY_ANSWER,
    on_state: Callable[[str], None] = lambda state: None,
) -> Release:
    """Restore an earlier version on top of `head`, restart the Space, and see that it serves it.

    Raises:
        RolloutError: that failed too; says in which state everything is, and the commands that mend it.
    """
    try:
        restored = restore_version(api, repo_id, to, head=head, cause=cause)
        roll_out(service, restored, canary, timeout_minutes=timeout_minutes, on_state=on_state)
        mark_verified(api, repo_id, restored.version_tag, restored.revision)
    except RetrainError as error:
        name = to.tag or to.revision
        raise RolloutError(
            f"Going back to {name} failed too: {error} {_state(api, repo_id, service)} When the cause is "
            "mended:\n  python -m release.rollout versions\n"
            f"  python -m release.rollout rollback --to {name}"
        ) from error
    return restored


def bring_into_service(
    api: HfApi,
    config: BaseConfig,
    service: Service,
    release: Release,
    previous: ServedVersion | None,
    before: Canary,
    after: Canary,
    journal: Journal,
) -> None:
    """Roll a release out; where it does not come up, bring the previous version back.

    before, after: how the previous version and the release are recognised.

    Raises:
        RolledBackError: the previous version serves again.
        RolloutError: none does, or not surely; the message says in which state everything is.
    """

    def on_state(state: str) -> None:
        journal.write("progress", stage="roll out", state=state)

    minutes = config.rollout_timeout_minutes
    try:
        roll_out(service, release, after, timeout_minutes=minutes, on_state=on_state)
    except RolloutError as error:
        if previous is None:
            raise RolloutError(f"{error} There is no version before it to go back to.") from error
        journal.write("stage", name="roll back")
        restored = roll_back(
            api,
            config.hub_model_id,
            service,
            previous,
            head=release.revision,
            cause=str(error),
            timeout_minutes=minutes,
            canary=before,
            on_state=on_state,
        )
        journal.write("restored", **vars(restored))
        raise RolledBackError(
            f"{release.version_tag} was released and did not come into service: {error} "
            f"{previous.tag or previous.revision} was restored as {restored.version_tag} and serves. "
            f"Look at the log of {service.space_id} before the next run."
        ) from error
    mark_verified(api, config.hub_model_id, release.version_tag, release.revision)


def finish_earlier_release(api: HfApi, config: BaseConfig, service: Service, journal: Journal) -> None:
    """Finish a release that a run was killed in, or revert it where it does not come up; a warning says so.

    Raises:
        RolloutError: it could be neither finished nor reverted.
    """
    repo_id, minutes = config.hub_model_id, config.rollout_timeout_minutes
    tagged = finish_release(api, repo_id)
    versions = list_versions(api, repo_id)
    if not versions or is_verified(api, repo_id, versions[0]):
        return
    newest = versions[0]
    release = tagged or Release(str(newest.tag), newest.revision, None, "")
    cut_short = f"An earlier run was cut short in the release of {newest.tag}"
    try:
        roll_out(service, release, ANY_ANSWER, timeout_minutes=minutes)
    except RolloutError as error:
        if len(versions) == 1:
            journal.warn(f"{cut_short}: {error} There is no version before it to go back to.")
            return
        head, _ = published_head(api, repo_id)
        restored = roll_back(
            api, repo_id, service, versions[1], head=head, cause=str(error), timeout_minutes=minutes
        )
        journal.warn(
            f"{cut_short}, which does not come up ({error}): {versions[1].tag} was restored as "
            f"{restored.version_tag} and serves."
        )
        return
    mark_verified(api, repo_id, str(newest.tag), newest.revision)
    journal.warn(f"{cut_short}: {'its tag was made, and ' if tagged else ''}the Space serves it now.")


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
    lines = [f"{'version':<18} {'macro F1':>8}  {'released (UTC)':<20} {'data set':<44} serving"]
    for version in list_versions(api, config.hub_model_id):
        told = read_metadata(api, config.hub_model_id, version.revision)
        f1 = told.get("eval_metrics", {}).get("f1_macro")
        data = told.get("dataset", {})
        dataset = f"{data.get('repo_id', '?')} {data.get('version_tag') or str(data.get('revision'))[:12]}"
        notes = ["now"] if served and served.revision == version.revision else []
        if restored := told.get("restored_from"):
            notes.append(f"restored from {restored}")
        lines.append(
            f"{version.tag:<18} {'?' if f1 is None else format(f1, '.4f'):>8}  "
            f"{str(told.get('timestamp_utc', '?'))[:19]:<20} {dataset:<44} {', '.join(notes)}"
        )
    return "\n".join(line.rstrip() for line in lines)


def roll_back_by_hand(api: HfApi, config: BaseConfig, service: Service, to: str | None) -> str:
    """Restore the version `to`, or the one that the newest replaced, and see that it serves.

    Raises:
        ReleaseError: there is no such version.
        RolloutError: see release.rollback.roll_back.
    """
    versions = {version.tag: version for version in list_versions(api, config.hub_model_id)}
    if to is None and versions:
        newest = next(iter(versions.values()))
        to = read_metadata(api, config.hub_model_id, newest.revision).get("previous_version")
    if to not in versions:
        raise ReleaseError(
            f"{config.hub_model_id} has no version {to or 'before the newest'}. It has: "
            f"{', '.join(str(tag) for tag in versions) or 'none'}."
        )
    restored = roll_back(
        api,
        config.hub_model_id,
        service,
        versions[to],
        head=published_head(api, config.hub_model_id)[0],
        cause="by hand",
        timeout_minutes=config.rollout_timeout_minutes,
        on_state=print,
    )
    return f"{to} was restored as {restored.version_tag}, and {config.space_repo_id} serves it."
