"""Sources without a database: files, and an export over HTTP that is read page by page."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preparation.entries import Entry, Since, SourceError
from preparation.exports import Export
from tests.spaces.prepare_dataset.conftest import MONDAY, settings_for

ROWS = [
    {"id": 1, "message": "खानेपानी छैन", "urgency": "URGENT", "created_at": MONDAY.isoformat()},
    {
        "id": 2,
        "message": "a hole",
        "urgency": "NORMAL",
        "created_at": MONDAY.isoformat(),
        "correct_urgency": "URGENT",
        "reviewed": "true",
        "reviewed_at": MONDAY.isoformat(),
        "reviewed_by": "r1",
    },
    {"id": 3, "message": "later", "urgency": "NORMAL", "correct_urgency": "URGENT", "reviewed": "false"},
]
EXPECTED = [
    Entry("खानेपानी छैन", ("URGENT",), MONDAY, is_correction=False),
    Entry("a hole", ("NORMAL",), MONDAY, is_correction=False),
    Entry("a hole", ("URGENT",), MONDAY, is_correction=True, reviewer="r1"),
    Entry("later", ("NORMAL",), None, is_correction=False),
]
COLUMNS = list(ROWS[1])


def read(source: object, **settings: str) -> list[Entry]:
    return list(Export(settings_for(SOURCE=str(source), **settings)).entries(Since()))


def written(folder: Path, kind: str) -> Path:
    file = folder / f"complaints.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({c: [row.get(c) for row in ROWS] for c in COLUMNS}), file)
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    else:
        lines = [",".join(COLUMNS), *(",".join(str(row.get(c, "")) for c in COLUMNS) for row in ROWS)]
        file.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_file_holds_complaints_and_their_corrections(tmp_path: Path, kind: str) -> None:
    assert read(written(tmp_path, kind)) == EXPECTED


def test_columns_of_a_file_may_have_other_names(tmp_path: Path) -> None:
    file = tmp_path / "city.csv"
    file.write_text("grievance,urgency\none,URGENT\n", encoding="utf-8")
    entries = read(file, COLUMN_NAMES="message:grievance")
    assert entries == [Entry("one", ("URGENT",), None, is_correction=False)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.csv", None, "can't be read (No such file or directory)"),
        ("complaints.xlsx", b"PK", "should be a .csv, .jsonl or .parquet file"),
        ("latin.csv", "message,urgency\ncaf\xe9,URGENT".encode("latin-1"), "Text files should be in UTF-8"),
        ("broken.jsonl", b'{"message": "a secret text"\n', "Line 1 of the source is no JSON object"),
        ("list.jsonl", b'["a secret text"]\n', "Line 1 of the source is no JSON object"),
        ("no.parquet", b"a secret text", "can't be read"),
        (
            "other.csv",
            b"text,urgency\na secret text,URGENT\n",
            "no column message (it has text, urgency)",
        ),
        ("none.csv", b"message,mood\na secret text,bad\n", "no column urgency or correct_urgency"),
        ("time.csv", b"message,urgency,created_at\na secret text,URGENT,soon\n", "that is no time such as"),
    ],
)
def test_a_file_that_can_not_be_used_is_said_without_its_texts(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SourceError) as error:
        read(file)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


class City:
    """An export on loopback: pages of JSON lines. `answers` are (status, body, headers) by path and query."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, dict[str, str]]] = {}
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization")))
                status, body, headers = outer.answers.get(self.path, (404, "", {}))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/export"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def city() -> Iterator[City]:
    city = City()
    yield city
    city.server.shutdown()
    city.server.server_close()


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_an_export_is_read_page_by_page_with_its_token(city: City) -> None:
    city.answers["/export"] = 200, lines(*ROWS[:2]), {"Link": '</export?page=2>; rel="next"'}
    city.answers["/export?page=2"] = 200, lines(ROWS[2]), {}
    assert read(city.url, SOURCE_TOKEN="token_of_the_city") == EXPECTED
    assert city.asked == [
        ("/export", "Bearer token_of_the_city"),
        ("/export?page=2", "Bearer token_of_the_city"),
    ]


def test_an_export_is_asked_for_what_is_new(city: City) -> None:
    city.answers["/export?since=2026-11-02T00%3A00%3A00%2B00%3A00"] = 200, lines(ROWS[0]), {}
    assert list(Export(settings_for(SOURCE=city.url)).entries(Since(MONDAY, MONDAY))) == EXPECTED[:1]


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:1/export", "/export"])
def test_a_next_page_elsewhere_or_read_already_is_refused(city: City, elsewhere: str) -> None:
    city.answers["/export"] = 200, lines(ROWS[0]), {"Link": f'<{elsewhere}>; rel="next"'}
    with pytest.raises(SourceError, match="a next page elsewhere, or one that was read"):
        read(city.url, SOURCE_TOKEN="token_of_the_city")


def test_a_redirect_is_not_followed_with_the_token(city: City) -> None:
    city.answers["/export"] = 302, "", {"Location": "http://127.0.0.1:1/"}
    with pytest.raises(SourceError, match="answered 302"):
        read(city.url, SOURCE_TOKEN="token_of_the_city")


def test_a_refusal_names_what_to_check(city: City) -> None:
    city.answers["/export"] = 401, "", {}
    with pytest.raises(SourceError, match=r"answered 401\. Check its URL and SOURCE_TOKEN"):
        read(city.url)


def test_an_export_that_is_not_encrypted_is_refused() -> None:
    with pytest.raises(SourceError, match="is not encrypted"):
        read("http://city.example/export")


def test_an_export_that_is_away_is_an_error() -> None:
    with pytest.raises(SourceError, match="could not be read"):
        read("http://127.0.0.1:1/export")
