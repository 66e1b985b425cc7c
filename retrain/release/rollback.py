"""The way back, and the end of what an interrupted run has left half done."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrain.errors import ReleaseError, RetrainError, RolledBackError, RolloutError
from retrain.events import Progress, Restored, Stage
from retrain.journal import Journal
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
            RolloutError: none does, or not surely; the message says in which state everything is.
        """

        def on_state(state: str) -> None:
            journal.write(Progress("roll out", state=state))

        try:
            self._roll_out(release, canary, on_state)
        except RolloutError as error:
            if previous is None:
                raise RolloutError(f"{error} There is no version before it to go back to.") from error
            self.repo.mark("given-up-", release.version_tag, release.revision)
            journal.write(Stage("roll back"))
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
        if not versions or versions[0].verified:
            return
        newest, *earlier = versions
        if self.repo.metadata(newest.revision).get("version_tag") != newest.tag:
            return
        cut_short = f"An earlier run was cut short in the release of {newest.tag}"
        cause = "it was given up"
        if not newest.given_up:
            release = tagged or Release(str(newest.tag), newest.revision, None, "")
            try:
                self._roll_out(release, self.expected_of(newest))
            except RolloutError as error:
                cause = str(error)
            else:
                self.repo.mark("verified-", newest.tag, newest.revision)
                made = "its tag was made, and " if tagged else ""
                journal.warn(f"{cut_short}: {made}the Space serves it now.")
                return
        last_good = next((version for version in earlier if version.verified), None)
        if last_good is None:
            journal.warn(f"{cut_short}, and {cause}; no earlier version is known to have served.")
            return
        self.repo.mark("given-up-", newest.tag, newest.revision)
        restored = self.roll_back(last_good, cause=cause)
        journal.warn(
            f"{cut_short}, which does not come up ({cause}): {last_good.tag} was restored as "
            f"{restored.version_tag} and serves."
        )

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
        served = self.space.served_version()
        serves = (served.tag or served.revision) if served else "a version that it does not name"
        return f"Now {hub}; {self.space.space_id} is {self.space.state()} and serves {serves}."


def any_answer(version: Version) -> Canary:
    """What any version must be able to do, whatever its scores."""
    return ANY_ANSWER


def version_to_restore(repo: "ModelRepo", to: str | None) -> Version:
    """The version with the tag or commit `to`; the one that the newest replaced, unless given.

    Raises:
        ReleaseError: there is no such version.
    """
    versions = {version.tag: version for version in repo.versions()}
    if to is None and versions:
        newest = next(iter(versions.values()))
        to = repo.metadata(newest.revision).get("previous_version")
        if to is None:
            others = ", ".join(str(tag) for tag in versions if tag != newest.tag) or "there is no other one"
            raise ReleaseError(
                f"{newest.tag} of {repo.repo_id} does not say which version it replaced. Choose one with "
                f"--to: {others}."
            )
    chosen = versions.get(to)
    if chosen is None and to and re.fullmatch(r"[0-9a-f]{40}", to):
        chosen = Version(None, to)
    if chosen is None:
        raise ReleaseError(
            f"{repo.repo_id} has no version{f' {to}' if to else ''}. It has: "
            f"{', '.join(str(tag) for tag in versions) or 'none'}."
        )
    return chosen
