"""The way back, and the end of what an interrupted run has left half done."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrain.errors import NotTriedError, ReleaseError, RetrainError, RolledBackError, RolloutError
from retrain.events import Progress, Restored, Stage
from retrain.journal import Journal
from retrain.language import N_
from retrain.records import Release, Version
from retrain.release.inference_space import InferenceSpace
from retrain.release.rollout import ANY_ANSWER, Canary, roll_out

if TYPE_CHECKING:
    from retrain.hub.model_repo import ModelRepo


@dataclass(frozen=True)
class Deployment:
    """The model repository and the Space that serves from it: brings releases into service, and back.

    expected_of: what an earlier version must answer to some test texts.
    """

    repo: "ModelRepo"
    space: InferenceSpace
    expected_of: Callable[[Version], Canary]
    timeout_minutes: float

    def bring_into_service(
        self, release: Release, previous: Version | None, canary: Canary, journal: Journal
    ) -> None:
        """Roll a release out; if it does not come up, bring the previous version back.

        canary: what the release must answer.

        Raises:
            RolledBackError: the previous version serves again.
            NotTriedError: it could not be tried, so that it is neither verified nor given up.
            RolloutError: none does, or not surely; the message says in which state everything is.
        """

        def on_state(state: str) -> None:
            journal.write(Progress("roll out", state=state))

        try:
            self._roll_out(release, canary, on_state)
        except NotTriedError as error:
            raise NotTriedError(
                f"{error} {release.version_tag} is published and was not tried, so it was not given up: "
                f"{self.space.space_id} loads it at its next start, and the next run checks it."
            ) from error
        except RolloutError as error:
            if previous is None:
                raise RolloutError(f"{error} There is no version before it to go back to.") from error
            self.repo.mark("given-up-", release.version_tag, release.revision)
            journal.write(Stage(N_("roll back")))
            newest = self.repo.newest()
            if newest and newest.tag != release.version_tag:
                raise RolloutError(
                    f"{error} Nothing was rolled back: {newest.tag} was released by somebody else meanwhile."
                ) from error
            restored = self.roll_back(previous, cause=str(error), on_state=on_state)
            journal.write(Restored(**vars(restored)))
            raise RolledBackError(
                f"{release.version_tag} was released and did not come into service: {error} "
                f"{previous.tag or previous.revision} was restored as {restored.version_tag} and serves. "
                f"Look at the log of {self.space.space_id} before the next run."
            ) from error
        self.repo.mark("verified-", release.version_tag, release.revision)

    def finish_earlier_release(self, journal: Journal) -> None:
        """Finish a release in which a run was killed, or revert it if it does not come up; a warning says so.

        Versions that are not ours (their metadata.json names another tag, or none) are left as they are.

        Raises:
            RolloutError: it could be neither finished nor reverted.
        """
        tagged = self.repo.tag_untagged_head()
        versions = self.repo.versions()
        if not versions or versions[0].is_good:
            return
        newest, *earlier = versions
        if not self.repo.is_ours(newest):
            return
        cut_short = f"An earlier run was cut short in the release of {newest.tag}"
        cause = "it was given up"
        if not newest.given_up:
            release = tagged or Release(str(newest.tag), newest.revision, None, "")
            try:
                self._roll_out(release, self.expected_of(newest))
            except NotTriedError as error:
                raise NotTriedError(f"{cut_short}, and it can't be finished now: {error}") from error
            except RolloutError as error:
                cause = str(error)
                now = self.repo.versions()
                if now[:1] and now[0].tag != newest.tag:
                    journal.warn(f"{cut_short}; {now[0].tag} has replaced it since.")
                    return
                earlier = [each for each in now if each.tag != newest.tag]
            else:
                self.repo.mark("verified-", newest.tag, newest.revision)
                made = "its tag was made, and " if tagged else ""
                journal.warn(f"{cut_short}: {made}the Space serves it now.")
                return
        last_good = next((version for version in earlier if version.is_good), None)
        if last_good is None:
            journal.warn(f"{cut_short}, and {cause}; no earlier version is known to have served.")
            return
        self.repo.mark("given-up-", newest.tag, newest.revision)
        restored = self.roll_back(last_good, cause=cause)
        journal.warn(
            f"{cut_short}, which does not come up ({cause}): {last_good.tag} was restored as "
            f"{restored.version_tag} and serves."
        )

    def see_what_serves_now(self, release: Release, journal: Journal) -> None:
        """Look at the end of a run whether its release is still the newest version; warn if it is not.

        Raises:
            RolledBackError: somebody has restored an earlier version.
        """
        newest = self.repo.newest()
        if newest is None or newest.tag == release.version_tag:
            return
        if restored := self.repo.metadata(newest.revision).get("restored_from"):
            raise RolledBackError(
                f"{release.version_tag} came into service, but somebody has rolled it back since: "
                f"{newest.tag} restores {restored}."
            )
        journal.warn(f"Another run has released {newest.tag} since, which replaces {release.version_tag}.")

    def roll_back(
        self, to: Version, *, cause: str, on_state: Callable[[str], None] = lambda state: None
    ) -> Release:
        """Restore an earlier version, restart the Space, and see that it serves it.

        Raises:
            RolloutError: that failed too; says in which state everything is, and the commands that mend it.
        """
        name = to.tag or to.revision
        try:
            restored = self.repo.restore(to, cause)
            self._roll_out(restored, self.expected_of(to), on_state)
        except RetrainError as error:
            raise RolloutError(
                f"Going back to {name} failed too: {error} {self._state()} When the cause is mended:\n"
                f"  python -m retrain versions\n  python -m retrain rollback --to {name}"
            ) from error
        self.repo.mark("verified-", restored.version_tag, restored.revision)
        return restored

    def _roll_out(
        self, release: Release, canary: Canary, on_state: Callable[[str], None] = lambda state: None
    ) -> None:
        roll_out(self.space, release, canary, timeout_minutes=self.timeout_minutes, on_state=on_state)

    def _state(self) -> str:
        try:
            newest, main = self.repo.newest(), self.repo.head().revision
            hub = f"main of {self.repo.repo_id} is at {main}, its newest version is "
            hub += str(newest.tag) if newest else "none"
        except RetrainError as error:
            hub = f"{self.repo.repo_id} can't be read ({error})"
        served = self.space.served().version
        serves = (served.tag or served.revision) if served else "a version that it does not name"
        return f"Now {hub}; {self.space.space_id} is {self.space.state()} and serves {serves}."


def copies(repo: "ModelRepo", version: Version) -> list[str | None]:
    """The tag of a version, and those of the versions that it restores."""
    versions = {each.tag: each for each in repo.versions()}
    tags, current = [version.tag], version
    while True:
        origin = repo.metadata(current.revision).get("restored_from")
        if not isinstance(origin, str) or origin not in versions or origin in tags:
            return tags
        tags.append(origin)
        current = versions[origin]


def left_behind(repo: "ModelRepo", to: Version) -> list[Version]:
    """The versions that going back to `to` gives up: all newer ones that are no copies of it."""
    versions = repo.versions()
    newer = [each for each in versions if str(each.tag) > to.tag] if to.tag else versions[:1]
    return [
        each
        for each in newer
        if not each.given_up and repo.is_ours(each) and to.tag not in copies(repo, each)
    ]


def banned_copies(repo: "ModelRepo", version: Version) -> list[Version]:
    """The versions with the same content as this one, itself among them, that were given up."""
    same = set(copies(repo, version))
    return [each for each in repo.versions() if each.given_up and same & set(copies(repo, each))]


def any_answer(version: Version) -> Canary:
    """What any version must be able to do, whatever its scores."""
    return ANY_ANSWER


def version_to_restore(repo: "ModelRepo", to: str | None) -> Version:
    """The version with the tag or commit `to`; unless given, the one that served before the newest.

    Raises:
        ReleaseError: there is no such version.
    """
    versions = {version.tag: version for version in repo.versions()}
    if to is None and versions:
        newest, *earlier = versions.values()
        same = copies(repo, newest)
        good = [each for each in earlier if not each.given_up and each.tag not in same and repo.is_ours(each)]
        if not good:
            others = ", ".join(str(tag) for tag in versions if tag != newest.tag) or "there is no other one"
            raise ReleaseError(
                f"No version of {repo.repo_id} is known to have served before {newest.tag}. Choose one with "
                f"--to: {others}."
            )
        return next((each for each in good if each.verified), good[0])
    chosen = versions.get(to) or next((each for each in versions.values() if each.revision == to), None)
    if chosen is None and to and re.fullmatch(r"[0-9a-f]{40}", to):
        chosen = Version(None, to)
    if chosen is None:
        raise ReleaseError(
            f"{repo.repo_id} has no version{f' {to}' if to else ''}. It has: "
            f"{', '.join(str(tag) for tag in versions) or 'none'}."
        )
    return chosen
