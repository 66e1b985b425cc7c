"""The city's PostgreSQL as a source: read only, one snapshot, streamed. No text is ever in an error."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg
from sqlalchemy import (
    Connection,
    Select,
    case,
    column,
    create_engine,
    inspect,
    null,
    or_,
    select,
    table,
    text,
    true,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.expression import TableClause

from preparation.entries import Entry, Since, SourceError, in_utc
from preparation.settings import PreparationSettings

FEEDBACK_TABLE = "reviewed_feedback"
ROWS_FETCHED = 5_000
CONNECT_SECONDS = 15
# A Space can call out on no other ports.
OPEN_PORTS = (80, 443, 8080)
_TOO_SLOW, _NO_PERMISSION = "57014", "42501"
_BROKEN = ("08", "57P")  # the connection, and a server that ends


class Database:
    """One read-only transaction on one snapshot. A context manager."""

    def __init__(self, settings: PreparationSettings) -> None:
        assert settings.database_url is not None
        self._settings = settings
        try:
            url = make_url(settings.database_url.get_secret_value())
        except (ArgumentError, ValueError) as error:
            raise SourceError("DATABASE_URL is no URL such as postgresql://user:…@host/database.") from error
        self._url = url.set(drivername="postgresql")
        self._connection: Connection | None = None
        self._is_unchecked = False
        # NullPool: the one connection is closed at the end. hide_parameters: an error shows no value.
        self._engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            creator=self._connect,
            poolclass=NullPool,
            hide_parameters=True,
            isolation_level="REPEATABLE READ",
        )

    def __enter__(self) -> Self:
        with self._explained():
            self._connection = self._engine.connect().execution_options(postgresql_readonly=True)
            milliseconds = int(self._settings.statement_timeout_minutes * 60_000)
            self._connection.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
            self._complaints = self._table(self._settings.complaints_table)
            self._corrections = self._table(self._settings.corrections_table)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def _connect(self) -> psycopg.Connection[Any]:
        seconds = int(str(self._url.query.get("connect_timeout", CONNECT_SECONDS)))
        connection = psycopg.connect(
            self._url.render_as_string(hide_password=False), connect_timeout=seconds, autocommit=True
        )
        # In SQL_ASCII texts are bytes that nobody checked: as Latin-1, one that is no UTF-8 stops no query.
        self._is_unchecked = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
        if self._is_unchecked:
            connection.execute("SET client_encoding TO 'LATIN1'")
        connection.autocommit = False
        return connection

    def entries(self, since: Since) -> Iterator[Entry]:
        """See Source."""
        column_of, labels = self._settings.column, self._settings.label
        complaints, corrections = self._complaints, self._corrections
        own = [self._column(complaints, label, needed=False) for label in labels]
        created = self._column(complaints, "created_at")
        query = select(self._column(complaints, "message"), *own, created)
        yield from self._read(_newer(query, created, since.complaints), is_correction=False)

        correct = [self._column(corrections, f"correct_{label}", needed=False) for label in labels]
        if not {column_of(f"correct_{label}") for label in labels} & {each.name for each in corrections.c}:
            names = " or ".join(column_of(f"correct_{label}") for label in labels)
            raise SourceError(f"The table {corrections.name} has no column {names}. Name it in COLUMN_NAMES.")
        reviewed_at = self._column(corrections, "reviewed_at")
        reviewer = self._column(corrections, "reviewed_by", needed=False)
        belongs = self._column(corrections, "complaint_id") == self._column(complaints, "id")
        query = select(complaints.c[column_of("message")], *correct, reviewed_at, reviewer)
        query = query.join_from(corrections, complaints, belongs)
        query = query.where(self._column(corrections, "reviewed").is_(true()))
        yield from self._read(_newer(query, reviewed_at, since.corrections), is_correction=True)
        yield from self._feedback(since)

    def _feedback(self, since: Since) -> Iterator[Entry]:
        """What reviewers have decided of feedback (common.feedback_store); without the table there is none.

        A text that was drawn by chance is a complaint as well: its correction may then be in eval or test.
        """
        with self._explained():
            if FEEDBACK_TABLE not in self._names(""):
                return
            reviewed = self._table(FEEDBACK_TABLE)
        counts, labels = reviewed.c.reviewed.is_(true()), self._settings.label
        correct = [reviewed.c[f"correct_{label}"] for label in labels]
        drawn = select(reviewed.c.message, *correct, reviewed.c.created_at)
        drawn = drawn.where(counts, reviewed.c.drawn_by_chance.is_(true()))
        yield from self._read(_newer(drawn, reviewed.c.reviewed_at, since.corrections), is_correction=False)
        # What several people agreed on is nobody's own.
        reviewer = case((reviewed.c.reviewed_by.contains(", "), null()), else_=reviewed.c.reviewed_by)
        query = select(reviewed.c.message, *correct, reviewed.c.reviewed_at, reviewer)
        query = query.where(counts)
        yield from self._read(_newer(query, reviewed.c.reviewed_at, since.corrections), is_correction=True)

    def erased(self) -> Iterator[str | bytes | None]:
        """See Source; without the table there are none."""
        with self._explained():
            schema, _, plain = self._settings.erasure_table.rpartition(".")
            if plain not in self._names(schema):
                return
            requests = self._table(self._settings.erasure_table)
        known = {each.name for each in requests.c}
        queries: list[Select[Any]] = []
        if self._settings.column("text_hash") in known:
            queries.append(select(self._column(requests, "text_hash")))
        if self._settings.column("complaint_id") in known:
            belongs = self._column(requests, "complaint_id") == self._column(self._complaints, "id")
            message = self._column(self._complaints, "message")
            queries.append(select(message).join_from(requests, self._complaints, belongs))
        if not queries:
            raise SourceError(
                f"The table {requests.name} has neither text_hash nor complaint_id, so that it says of no "
                "text that it is to be forgotten. Name the column in COLUMN_NAMES."
            )
        for query in queries:
            for row in self._stream(query):
                yield self._raw(row[0])

    def _read(self, query: Select[Any], *, is_correction: bool) -> Iterator[Entry]:
        last = len(self._settings.label) + 1
        for row in self._stream(query):
            at = row[last]
            if at is not None and not isinstance(at, datetime):
                raise SourceError(
                    "A column of times holds something else. created_at and reviewed_at should be of the "
                    "type timestamptz."
                )
            yield Entry(
                self._raw(row[0]),
                tuple(self._word(each) for each in row[1:last]),
                in_utc(at) if at else None,
                is_correction,
                self._word(row[last + 1]) if is_correction else None,
            )

    def _raw(self, value: Any) -> str | bytes | None:
        if value is None or not self._is_unchecked:
            return None if value is None else str(value)
        return str(value).encode("latin-1")

    def _word(self, value: Any) -> str | None:
        raw = self._raw(value)
        word = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        return word.strip() or None if word is not None else None

    def _stream(self, query: Select[Any]) -> Iterator[Any]:
        with self._explained():
            assert self._connection is not None
            yield from self._connection.execute(
                query, execution_options={"stream_results": True, "yield_per": ROWS_FETCHED}
            )

    def _names(self, schema: str) -> set[str]:
        """The tables and views that this user may see."""
        inspector = inspect(self._connection)
        return {*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)}

    def _table(self, name: str) -> TableClause:
        schema, _, plain = name.rpartition(".")
        if plain not in (names := self._names(schema)):
            raise SourceError(
                f"The database has no table {name} that this user may see (it has "
                f"{', '.join(sorted(names)[:20])}). Name it in COMPLAINTS_TABLE or CORRECTIONS_TABLE."
            )
        columns = inspect(self._connection).get_columns(plain, schema or None)
        return table(plain, *(column(each["name"], each["type"]) for each in columns), schema=schema or None)

    def _column(self, there: TableClause, name: str, *, needed: bool = True) -> Any:
        theirs = self._settings.column(name)
        if theirs in there.c:
            return there.c[theirs]
        if not needed:
            return null()
        names = [each.name for each in there.c]
        raise SourceError(
            f"The table {there.name} has no column {theirs} (it has {', '.join(names)}). Name it in "
            f"COLUMN_NAMES, as in {name}:{names[0]}."
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the database in our words: the driver's may quote the data."""
        try:
            yield
        except DBAPIError as error:
            raise SourceError(_cause(error, self._url, os.environ), transient=True) from None


def _newer(query: Select[Any], time: Any, since: datetime | None) -> Select[Any]:
    """What has no time is new, too: it would never be read otherwise."""
    return query if since is None else query.where(or_(time >= since, time.is_(None)))


def _cause(error: DBAPIError, url: URL, environ: Mapping[str, str]) -> str:
    place = f"the database {url.database} at {url.host}:{url.port or 5432}"
    state = getattr(error.orig, "sqlstate", None) or ""
    said = str(error.orig).lower()
    if state == _TOO_SLOW:
        return (
            f"A query of {place} took longer than STATEMENT_TIMEOUT_MINUTES. Raise it, or give the tables "
            "indexes on created_at and reviewed_at."
        )
    if state == _NO_PERMISSION:
        return f"The user {url.username} may not read a table of {place}. GRANT it SELECT on the tables."
    if state.startswith("28") or "authentication failed" in said:
        return f"The user {url.username} is not let into {place}. Correct user and password in DATABASE_URL."
    if state.startswith("3D") or ("database" in said and "does not exist" in said):
        return f"There is no database {url.database} at {url.host}:{url.port or 5432}. Correct DATABASE_URL."
    if state and not state.startswith(_BROKEN):
        return f"A query of {place} failed (SQLSTATE {state}). See the log of the database for the cause."
    if "timeout" in said and "SPACE_ID" in environ and (url.port or 5432) not in OPEN_PORTS:
        return (
            f"There was no answer from {place}. A Space can call out on the ports 80, 443 and 8080 only: put "
            "a pooler in front of the database on 443, use an HTTPS export as SOURCE, or run this image as "
            "a Job or by cron in the city's own network."
        )
    if "timeout" in said or "could not translate" in said or "refused" in said or "resolve" in said:
        return f"There was no answer from {place}. Is it up, and reachable from here? Then restart."
    return f"The connection to {place} broke. Nothing was published: restart."
