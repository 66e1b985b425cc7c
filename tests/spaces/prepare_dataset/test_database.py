"""The city's database as a source, on a real PostgreSQL: what is read, and every way in which it can't be."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text as sql_text

from common.feedback_store import FeedbackStore
from preparation.database import Database
from preparation.entries import Entry, Since, SourceError
from rehearsal.city_database import PASSWORD, Cluster, add_complaints, add_corrections
from tests.spaces.prepare_dataset.conftest import MONDAY, settings_for

READER = "reader"


def read(url: str, since: Since | None = None, **settings: str) -> list[Entry]:
    with Database(settings_for(DATABASE_URL=url, **settings)) as database:
        return list(database.entries(since or Since()))


@contextmanager
def refused(url: str, **settings: str) -> Iterator[list[str]]:
    """The message of the error that reading raises, for the block that looks at it."""
    with pytest.raises(SourceError) as error:
        read(url, **settings)
    assert PASSWORD not in str(error.value)
    yield [str(error.value)]


def execute(url: str, *statements: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def fill(url: str) -> None:
    add_complaints(
        url,
        [
            {"id": 1, "message": "one", "urgency": "URGENT", "created_at": MONDAY},
            {"id": 2, "message": "two", "urgency": "NORMAL", "created_at": MONDAY + timedelta(days=9)},
            {"id": 3, "message": None, "urgency": None, "created_at": None},
        ],
    )
    add_corrections(
        url,
        [
            {"complaint_id": 1, "correct_urgency": "NORMAL", "reviewed": True, "reviewed_at": MONDAY},
            {"complaint_id": 2, "correct_urgency": "URGENT", "reviewed": False, "reviewed_at": MONDAY},
            {"complaint_id": 2, "correct_urgency": "URGENT", "reviewed": None, "reviewed_at": MONDAY},
        ],
    )


def test_complaints_and_reviewed_corrections_are_read(database: str) -> None:
    fill(database)
    assert read(database) == [
        Entry("one", ("URGENT",), MONDAY, is_correction=False),
        Entry("two", ("NORMAL",), MONDAY + timedelta(days=9), is_correction=False),
        Entry(None, (None,), None, is_correction=False),
        Entry("one", ("NORMAL",), MONDAY, is_correction=True),
    ]


def test_only_what_is_new_is_read_and_what_has_no_time(database: str) -> None:
    fill(database)
    later = MONDAY + timedelta(days=1)
    assert [entry.text for entry in read(database, Since(later, later))] == ["two", None]


def test_both_label_sets_come_in_one_pass(database: str) -> None:
    add_complaints(database, [{"message": "one", "urgency": "URGENT", "department": "D"}])
    settings = {"LABEL": "department,urgency", "DATASET_REPO_ID": "city/{label}"}
    assert [entry.labels for entry in read(database, **settings)] == [("D", "URGENT")]


def test_who_reviewed_is_known_where_the_table_says_it(database: str) -> None:
    fill(database)
    execute(
        database,
        "ALTER TABLE misclassified_complaints ADD COLUMN reviewed_by text",
        "UPDATE misclassified_complaints SET reviewed_by = 'officer 7'",
    )
    assert [entry.reviewer for entry in read(database) if entry.is_correction] == ["officer 7"]


def test_tables_and_columns_may_have_other_names(database: str) -> None:
    fill(database)
    execute(
        database,
        "CREATE SCHEMA ward",
        "ALTER TABLE complaints SET SCHEMA ward",
        "ALTER TABLE ward.complaints RENAME COLUMN message TO body",
        "ALTER TABLE misclassified_complaints RENAME TO fixes",
        "ALTER TABLE fixes RENAME COLUMN reviewed_at TO seen_at",
    )
    entries = read(
        database,
        COMPLAINTS_TABLE="ward.complaints",
        CORRECTIONS_TABLE="fixes",
        COLUMN_NAMES="message:body,reviewed_at:seen_at",
    )
    assert [entry.text for entry in entries] == ["one", "two", None, "one"]


def test_what_is_read_is_one_moment_of_the_database(database: str) -> None:
    fill(database)
    with Database(settings_for(DATABASE_URL=database)) as source:
        entries = source.entries(Since())
        first = next(entries)
        execute(database, "DELETE FROM misclassified_complaints", "UPDATE complaints SET urgency = 'NORMAL'")
        assert [entry.labels for entry in (first, *entries)] == [
            ("URGENT",), ("NORMAL",), (None,), ("NORMAL",),
        ]  # fmt: skip


def test_nothing_can_be_written(database: str) -> None:
    with Database(settings_for(DATABASE_URL=database)) as source:
        assert source._connection is not None
        with pytest.raises(Exception, match="read-only transaction"):
            source._connection.execute(sql_text("DELETE FROM complaints"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "DROP TABLE misclassified_complaints",
            "has no table misclassified_complaints that this user may see",
        ),
        ("ALTER TABLE complaints DROP COLUMN message", "The table complaints has no column message"),
        ("ALTER TABLE misclassified_complaints DROP COLUMN reviewed_at", "has no column reviewed_at"),
        ("ALTER TABLE misclassified_complaints DROP COLUMN correct_urgency", "no column correct_urgency"),
        ("ALTER TABLE complaints ALTER created_at TYPE text", "should be of the type timestamptz"),
    ],
)
def test_a_table_or_column_that_is_not_there_is_named(database: str, change: str, said: str) -> None:
    fill(database)
    execute(database, change)
    with refused(database) as (message,):
        assert said in message
        assert "one" not in message.split()


def test_a_wrong_password_is_said_and_not_shown(cluster: Cluster, database: str) -> None:
    url = cluster.url(database.rpartition("/")[2], password="a_wrong_one")
    with refused(url) as (message,):
        assert "The user city is not let into the database" in message
        assert "a_wrong_one" not in message


def test_a_database_that_is_not_there_is_named(cluster: Cluster) -> None:
    with refused(cluster.url("nowhere")) as (message,):
        assert "There is no database nowhere" in message


def test_a_role_that_may_not_read_is_told_what_it_lacks(cluster: Cluster, database: str) -> None:
    fill(database)
    execute(
        database,
        "DROP ROLE IF EXISTS reader",
        sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(sql.Literal(PASSWORD)),
    )
    url = cluster.url(database.rpartition("/")[2], user=READER)
    with refused(url) as (message,):
        assert "The user reader may not read a table" in message
    execute(database, "GRANT SELECT ON complaints, misclassified_complaints TO reader")
    assert len(read(url)) == 4
    execute(database, "DROP OWNED BY reader", "DROP ROLE reader")


def test_a_query_that_takes_too_long_is_ended(database: str) -> None:
    fill(database)
    slow = "CREATE FUNCTION slow() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT pg_sleep(60)::text $$"
    execute(
        database,
        slow,
        "ALTER TABLE complaints RENAME TO plain",
        "CREATE VIEW complaints AS SELECT id, slow() || message AS message, urgency, created_at FROM plain",
    )
    with refused(database, STATEMENT_TIMEOUT_MINUTES="0.005") as (message,):
        assert "longer than STATEMENT_TIMEOUT_MINUTES" in message


def test_a_server_that_is_killed_in_the_middle_of_a_read_is_an_error() -> None:
    with Cluster() as own:
        url = own.create("city")
        add_complaints(url, [{"message": "x" * 200, "urgency": "URGENT"} for _ in range(20_000)])
        with Database(settings_for(DATABASE_URL=url)) as source:
            entries = source.entries(Since())
            next(entries)
            own.kill()
            with pytest.raises(SourceError, match=r"The connection to the database city at .* broke"):
                list(entries)


def test_nobody_listens(cluster: Cluster) -> None:
    with refused("postgresql://city:pw_of_nobody@127.0.0.1:1/city") as (message,):
        assert "There was no answer from the database city at 127.0.0.1:1" in message


def test_a_port_that_a_space_can_not_reach_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "city/prepare")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with refused(f"postgresql://city:pw_of_nobody@{address}/city?connect_timeout=2") as (message,):
            assert "on the ports 80, 443 and 8080 only" in message


def test_bytes_that_are_no_utf_8_come_as_bytes(cluster: Cluster) -> None:
    url = cluster.create("city_ascii", "SQL_ASCII")
    execute(
        url,
        r"INSERT INTO complaints (message, urgency) VALUES (E'sadak \xff', 'URGENT'), ('plain', 'NORMAL')",
    )
    entries = read(url)
    assert [entry.text for entry in entries] == [b"sadak \xff", b"plain"]
    assert [entry.labels for entry in entries] == [("URGENT",), ("NORMAL",)]


def test_requests_to_be_forgotten_name_complaints_or_hashes(database: str) -> None:
    fill(database)
    execute(
        database,
        "CREATE TABLE erasure_requests (complaint_id bigint, text_hash text)",
        "INSERT INTO erasure_requests VALUES (1, NULL), (NULL, repeat('a', 32))",
    )
    with Database(settings_for(DATABASE_URL=database)) as source:
        assert set(source.erased()) == {None, "a" * 32, "one"}


def test_without_a_table_of_requests_nothing_is_forgotten(database: str) -> None:
    with Database(settings_for(DATABASE_URL=database)) as source:
        assert list(source.erased()) == []


def test_a_table_of_requests_that_names_nothing_is_refused(database: str) -> None:
    execute(database, "CREATE TABLE erasure_requests (citizen text)")
    with Database(settings_for(DATABASE_URL=database)) as source, pytest.raises(SourceError) as error:
        list(source.erased())
    assert "neither text_hash nor complaint_id" in str(error.value)


def test_reviewed_feedback_is_a_correction_and_what_chance_chose_a_complaint_too(database: str) -> None:
    fill(database)
    before = read(database)
    store = FeedbackStore.open(database, Path())
    for text, chosen_by in (("reported", None), ("drawn", "chance"), ("pending", None), ("agreed", None)):
        place, _ = store.add_feedback(text, {"urgency": "URGENT"}, "officer", text=text, chosen_by=chosen_by)
        if text != "pending":
            store.review(place, "accept", "reviewer")
        if text == "agreed":
            store.review(place, "accept", "another")
    added = [entry for entry in read(database) if entry not in before]
    assert [(entry.text, entry.labels, entry.is_correction, entry.reviewer) for entry in added] == [
        ("drawn", ("URGENT",), False, None),
        ("reported", ("URGENT",), True, "reviewer"),
        ("drawn", ("URGENT",), True, "reviewer"),
        ("agreed", ("URGENT",), True, None),
    ]
    since = Since(corrections=datetime.now(UTC))
    assert not [entry for entry in read(database, since) if entry.text in ("drawn", "reported", "agreed")]
