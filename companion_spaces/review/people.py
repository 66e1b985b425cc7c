"""Who may review, how they stay logged in, and how far they agree with each other."""

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from secrets import compare_digest

from common.feedback_store import Review, standing

LOGGED_IN_SECONDS = 12 * 3600
LEAST_TOKEN = 12  # characters


@dataclass(frozen=True)
class Reviewers:
    """The reviewers by name, with their tokens. Sessions are signed with a key made of all tokens."""

    tokens: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> "Reviewers":
        """From name:token pairs, separated by commas.

        Raises:
            ValueError: a pair is malformed, a token is short, or two are the same.
        """
        pairs = [pair.strip().partition(":") for pair in text.split(",") if pair.strip()]
        tokens = {name.strip(): token.strip() for name, _, token in pairs}
        if not tokens or not all(name and len(token) >= LEAST_TOKEN for name, token in tokens.items()):
            raise ValueError(
                f"REVIEWERS should be name:token pairs, with tokens of {LEAST_TOKEN} characters or more"
            )
        if len(set(tokens.values())) < len(pairs):
            raise ValueError("REVIEWERS has a name or a token twice")
        return cls(tokens)

    def who(self, token: str) -> str | None:
        """The reviewer with this token, in constant time."""
        found = [name for name, own in self.tokens.items() if compare_digest(own.encode(), token.encode())]
        return found[0] if found else None

    def session(self, name: str, now: float | None = None) -> str:
        """The value of the cookie of somebody who has logged in."""
        content = f"{name}|{int((now or time.time()) + LOGGED_IN_SECONDS)}"
        return f"{content}|{self._sign(content)}"

    def of_session(self, cookie: str | None, now: float | None = None) -> str | None:
        """Whose session a cookie is; None if it is none, or is over."""
        content, _, signature = (cookie or "").rpartition("|")
        name, _, until = content.partition("|")
        if not compare_digest(self._sign(content).encode(), signature.encode()):
            return None
        return name if name in self.tokens and (now or time.time()) < int(until) else None

    def form_key(self, cookie: str) -> str:
        """What a form must bring back: another site can't read it."""
        return self._sign(f"form|{cookie}")

    def _sign(self, content: str) -> str:
        key = hashlib.sha256("\n".join(sorted(self.tokens.values())).encode()).digest()
        return hmac.new(key, content.encode(), "sha256").hexdigest()


@dataclass(frozen=True)
class Agreement:
    """How many rows a reviewer decided, the share that was accepted, and the agreement with others."""

    reviewer: str
    decided: int
    accepted: float
    shared: int
    agreed: float | None


def agreements(verdicts: Mapping[str, Sequence[Review]]) -> list[Agreement]:
    """Of each reviewer; two agree if verdict and labels are the same. Who accepts everything stands out."""
    rows = [{review.reviewer: review for review in standing(given)} for given in verdicts.values()]
    found = []
    for name in sorted({reviewer for row in rows for reviewer in row}):
        own = [row for row in rows if name in row]
        pairs = [
            _same(row[name], other) for row in own for reviewer, other in row.items() if reviewer != name
        ]
        accepted = sum(row[name].verdict == "accept" for row in own) / len(own)
        found.append(Agreement(name, len(own), accepted, len(pairs), _share(pairs)))
    return found


def _same(one: Review, other: Review) -> bool:
    return (one.verdict, dict(one.labels)) == (other.verdict, dict(other.labels))


def _share(values: Iterable[bool]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
