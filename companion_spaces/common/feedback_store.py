"""What officers report and reviewers decide, in PostgreSQL or SQLite. Feedback and reviews are append-only.

`reviewed_feedback` is derived from them: what counts, as prepare_dataset reads it. A review takes back
nothing but itself: an undo is a further entry. No error shows a text or a value.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

LABEL_SETS = ("urgency", "department")
# Where a wrong label costs most, two people have to agree on it.
CRITICAL = frozenset({"HIGHLY URGENT"})
SECONDS_TO_CONNECT = 5

tables = MetaData()


def _labels() -> list[Column[Any]]:
    return [Column(f"correct_{label}", String(200)) for label in LABEL_SETS]


def _time(name: str) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=False)


predictions = Table(
    "predictions",
    tables,
    Column("id", String(32), primary_key=True),
    Column("text", Text, nullable=False),
    Column("label", String(200), nullable=False),
    Column("scores", Text, nullable=False),
    Column("margin", Float, nullable=False),
    Column("model_version", String(100)),
    _time("created_at"),
)
feedback = Table(
    "feedback",
    tables,
    Column("id", String(32), primary_key=True),
    Column("idempotency_key", String(200), nullable=False, unique=True),
    Column("prediction_id", ForeignKey("predictions.id")),
    Column("text", Text, nullable=False),
    *_labels(),
    Column("reporter", String(100), nullable=False),
    Column("chosen_by", String(20)),
    _time("received_at"),
)
reviews = Table(
    "reviews",
    tables,
    Column("id", String(32), primary_key=True),
    Column("feedback_id", ForeignKey("feedback.id"), nullable=False, index=True),
    Column("verdict", String(10), nullable=False),
    *_labels(),
    Column("reviewer", String(100), nullable=False),
    _time("at"),
)
reviewed_feedback = Table(
    "reviewed_feedback",
    tables,
    Column("feedback_id", ForeignKey("feedback.id"), primary_key=True),
    Column("message", Text, nullable=False),
    *_labels(),
    Column("reviewed", Boolean, nullable=False),
    _time("reviewed_at"),
    Column("reviewed_by", String(200), nullable=False),
    Column("drawn_by_chance", Boolean, nullable=False),
    _time("created_at"),
)
Index("reviewed_feedback_by_time", reviewed_feedback.c.reviewed_at)

Verdict = Literal["accept", "reject", "relabel", "undo"]
Labels = Mapping[str, str]


class StoreError(Exception):
    """The store can't be used now; nothing was stored."""


class UnknownError(LookupError):
    """There is no such prediction or feedback."""


class ConflictError(ValueError):
    """What is asked for contradicts what is there."""


@dataclass(frozen=True)
class Decision:
    """What the reviews of a feedback come to: "pending", "accepted" or "rejected", with the labels."""

    state: Literal["pending", "accepted", "rejected"]
    labels: Labels = field(default_factory=dict)
    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Review:
    """One reviewer's verdict; labels: those it gives, where it relabels."""

    verdict: str
    reviewer: str
    labels: Labels = field(default_factory=dict)


def standing(given: Sequence[Review]) -> list[Review]:
    """The last verdict of each reviewer, unless it was undone, oldest first. given: oldest first."""
    last: dict[str, Review] = {}
    for review in given:
        last.pop(review.reviewer, None)
        if review.verdict != "undo":
            last[review.reviewer] = review
    return list(last.values())


def decided(labels: Labels, given: Sequence[Review]) -> Decision:
    """Fold the reviews of a feedback, oldest first. A pure function.

    labels: those that were reported. Reviewers who disagree leave it pending; so does a single one who
    accepts a critical label.
    """
    those = standing(given)
    if not those:
        return Decision("pending")
    people = tuple(review.reviewer for review in those)
    rejections = [review.verdict == "reject" for review in those]
    if all(rejections):
        return Decision("rejected", reviewers=people)
    found = [dict(review.labels if review.verdict == "relabel" else labels) for review in those]
    if any(rejections) or any(each != found[0] for each in found):
        return Decision("pending", reviewers=people)
    if CRITICAL & set(found[0].values()) and len(people) < 2:
        return Decision("pending", found[0], people)
    return Decision("accepted", found[0], people)


class FeedbackStore:
    """The tables above. Methods raise StoreError where the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_made = False

    @classmethod
    def open(cls, database_url: str | None, folder: Path) -> "FeedbackStore":
        """PostgreSQL at a URL, or else SQLite in a folder. Connects at the first use.

        Raises:
            ValueError: the URL is none.
        """
        if database_url is None:
            folder.mkdir(parents=True, exist_ok=True)
            engine = create_engine(f"sqlite:///{folder / 'feedback.sqlite'}", hide_parameters=True)
            event.listen(engine, "connect", _for_several_writers)
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
            return cls(engine)
        try:
            url = make_url(database_url).set(drivername="postgresql+psycopg")
            engine = create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=True,
                connect_args={"connect_timeout": SECONDS_TO_CONNECT},
            )
        except (ArgumentError, NoSuchModuleError) as error:
            raise ValueError("DATABASE_URL is no URL such as postgresql://user:…@host/database") from error
        return cls(engine)

    def add_predictions(
        self, texts: Sequence[str], answers: Sequence[Mapping[str, Any]], model_version: str | None
    ) -> list[str]:
        """Keep what was answered to texts; returns an id for each. answers: label and scores, by label."""
        now, ids = datetime.now(UTC), [uuid.uuid4().hex for _ in texts]
        rows = []
        for place, text, answer in zip(ids, texts, answers, strict=True):
            best = sorted(answer["scores"].values(), reverse=True)
            rows.append(
                {
                    "id": place,
                    "text": text,
                    "label": answer["label"],
                    "scores": json.dumps(answer["scores"], ensure_ascii=False),
                    "margin": best[0] - best[1] if len(best) > 1 else 1.0,
                    "model_version": model_version,
                    "created_at": now,
                }
            )
        with self._transaction() as connection:
            connection.execute(insert(predictions), rows)
        return ids

    def add_feedback(
        self,
        key: str,
        labels: Labels,
        reporter: str,
        *,
        text: str | None = None,
        prediction_id: str | None = None,
        chosen_by: str | None = None,
    ) -> tuple[str, bool]:
        """Add a correction, of a text or of a prediction; returns its id, and whether it is new.

        key: the same for a replay, which is one entry; chosen_by: why a reviewer was shown the text.

        Raises:
            UnknownError: there is no such prediction; ConflictError: the key is that of another correction.
        """
        wanted = _columns(labels) | {"reporter": reporter, "prediction_id": prediction_id}
        try:
            with self._transaction() as connection:
                if prediction_id is not None:
                    text = connection.scalar(
                        select(predictions.c.text).where(predictions.c.id == prediction_id)
                    )
                if text is None:
                    raise UnknownError(f"there is no prediction {prediction_id}")
                wanted["text"] = text
                if known := self._by_key(connection, key):
                    return _same(known, wanted), False
                row = wanted | {"id": uuid.uuid4().hex, "idempotency_key": key, "chosen_by": chosen_by}
                connection.execute(insert(feedback).values(row | {"received_at": datetime.now(UTC)}))
                return str(row["id"]), True
        except IntegrityError:  # another process was first with this key
            with self._transaction() as connection:
                known = self._by_key(connection, key)
            if known is None:
                raise
            return _same(known, wanted), False

    def review(self, feedback_id: str, verdict: Verdict, reviewer: str, labels: Labels = {}) -> Decision:  # noqa: B006 (it is not changed)
        """Add a reviewer's verdict; returns what all of them come to.

        Raises:
            UnknownError: there is no such feedback; ConflictError: its reporter can't accept it.
        """
        with self._transaction() as connection:
            query = select(feedback).where(feedback.c.id == feedback_id).with_for_update()
            found = connection.execute(query).mappings().first()
            if found is None:
                raise UnknownError(f"there is no feedback {feedback_id}")
            reported = dict(found)
            if (
                verdict in ("accept", "relabel")
                and reviewer == reported["reporter"]
                and not reported["chosen_by"]
            ):
                raise ConflictError("whoever reported it can't accept it: somebody else has to")
            now = datetime.now(UTC)
            row = {"id": uuid.uuid4().hex, "feedback_id": feedback_id, "verdict": verdict}
            row |= _columns(labels) | {"reviewer": reviewer, "at": now}
            connection.execute(insert(reviews).values(row))
            decision = decided(
                _labels_of(reported),
                self._verdicts(connection, reviews.c.feedback_id == feedback_id)[feedback_id],
            )
            self._derive(connection, reported, decision, now)
            return decision

    def pending(self, most: int = 500) -> list[dict[str, Any]]:
        """Feedback that is not decided, oldest first: its columns, labels, the model's scores, its reviewers.

        What reviewers disagree on is not decided.
        """
        done = select(reviewed_feedback.c.feedback_id).where(reviewed_feedback.c.reviewed)
        query = (
            select(feedback, predictions.c.label, predictions.c.scores)
            .outerjoin(predictions, predictions.c.id == feedback.c.prediction_id)
            .where(feedback.c.id.not_in(done))
            .order_by(feedback.c.received_at)
            .limit(most)
        )
        with self._transaction() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            given = self._verdicts(connection, reviews.c.feedback_id.in_([row["id"] for row in rows]))
        found = []
        for row in rows:
            decision = decided(_labels_of(row), given.get(row["id"], ()))
            if decision.state == "pending":
                scores = json.loads(row.pop("scores") or "{}")
                more = {"labels": _labels_of(row), "scores": scores, "by": decision.reviewers}
                found.append({name: _in_utc(value) for name, value in row.items()} | more)
        return found

    def unlabelled(self, most: int = 500) -> list[dict[str, Any]]:
        """The newest predictions that nobody has given feedback on: their columns, scores by label."""
        query = (
            select(predictions)
            .outerjoin(feedback, feedback.c.prediction_id == predictions.c.id)
            .where(feedback.c.id.is_(None))
            .order_by(predictions.c.created_at.desc())
            .limit(most)
        )
        with self._transaction() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [row | {"scores": json.loads(row["scores"])} for row in rows]

    def verdicts(self) -> dict[str, list[Review]]:
        """The reviews of each feedback, oldest first."""
        with self._transaction() as connection:
            return self._verdicts(connection, true())

    def _verdicts(self, connection: Connection, where: Any) -> dict[str, list[Review]]:
        given: dict[str, list[Review]] = {}
        for row in map(
            dict, connection.execute(select(reviews).where(where).order_by(reviews.c.at)).mappings()
        ):
            review = Review(row["verdict"], row["reviewer"], _labels_of(row))
            given.setdefault(row["feedback_id"], []).append(review)
        return given

    def count_reviewed(self, label: str, since: datetime | None) -> int:
        """The reviewed corrections of a label set that were reviewed after a time."""
        query = select(func.count()).where(
            reviewed_feedback.c.reviewed, reviewed_feedback.c[f"correct_{label}"].is_not(None)
        )
        if since is not None:
            query = query.where(reviewed_feedback.c.reviewed_at > since)
        with self._transaction() as connection:
            return int(connection.scalar(query) or 0)

    def reviewed(self, since: datetime | None = None, newest: int | None = None) -> Iterator[dict[str, Any]]:
        """What counts as reviewed, by the columns of reviewed_feedback, oldest first.

        newest: only so many, the last ones.
        """
        query = select(reviewed_feedback).where(reviewed_feedback.c.reviewed)
        if since is not None:
            query = query.where(reviewed_feedback.c.reviewed_at >= since)
        query = query.order_by(reviewed_feedback.c.reviewed_at.desc()).limit(newest)
        with self._transaction() as connection:
            rows = connection.execute(query).mappings().all()
        for row in reversed(rows):
            yield {name: _in_utc(value) for name, value in row.items()}

    def _derive(
        self, connection: Connection, reported: Mapping[str, Any], decision: Decision, now: datetime
    ) -> None:
        """Bring reviewed_feedback up to date."""
        counts = decision.state == "accepted"
        row = _columns(decision.labels if counts else {}) | {
            "message": reported["text"],
            "reviewed": counts,
            "reviewed_at": now,
            "reviewed_by": ", ".join(decision.reviewers)[:200],
            "drawn_by_chance": reported["chosen_by"] == "chance",
            "created_at": reported["received_at"],
        }
        here = reviewed_feedback.c.feedback_id == reported["id"]
        if not connection.execute(update(reviewed_feedback).where(here).values(row)).rowcount and counts:
            connection.execute(insert(reviewed_feedback).values(row | {"feedback_id": reported["id"]}))

    def _by_key(self, connection: Connection, key: str) -> Mapping[str, Any] | None:
        query = select(feedback).where(feedback.c.idempotency_key == key)
        found = connection.execute(query).mappings().first()
        return dict(found) if found else None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            if not self._is_made:
                self._make()
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:  # its message names the server
            raise StoreError(f"the database can't be used ({type(error).__name__})") from None

    def _make(self) -> None:
        """Create the tables that are not there; another process may be at it too."""
        try:
            tables.create_all(self._engine)
        except DBAPIError:
            tables.create_all(self._engine)  # what the other one made is there now
        self._is_made = True


def _columns(labels: Labels) -> dict[str, Any]:
    return {f"correct_{label}": labels.get(label) for label in LABEL_SETS}


def _labels_of(row: Mapping[str, Any]) -> dict[str, str]:
    return {label: name for label in LABEL_SETS if (name := row[f"correct_{label}"]) is not None}


def _same(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The id of an entry with the same key; a key stands for one correction."""
    if any(known[name] != value for name, value in wanted.items()):
        raise ConflictError("this idempotency key was used for another correction")
    return str(known["id"])


def _in_utc(value: Any) -> Any:
    """SQLite gives times back without their zone."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _for_several_writers(connection: Any, record: object) -> None:
    """SQLite as one expects a database to be: durable, with foreign keys, and waiting for other writers."""
    connection.isolation_level = None  # SQLAlchemy's "begin" event begins the transaction
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {setting}")
