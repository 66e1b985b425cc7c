"""One file of rows, as people save it: what is read, and what is refused in one sentence."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrain.dataset.rows import Rows, given_splits, read_rows
from retrain.errors import DatasetError

LABEL2ID = {"NORMAL": 0, "URGENT": 1}
LINES = [("सडक बिग्रियो", "NORMAL"), ('पानी, "छैन"', "URGENT"), ("naya\nkura", "NORMAL")]


def csv_of(delimiter: str = ",", header: tuple[str, str] = ("grievance", "urgency")) -> str:
    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    return "\r\n".join(delimiter.join(map(quoted, line)) for line in (header, *LINES)) + "\r\n"


def read(file: Path, content: bytes | str) -> Rows:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_rows(file, "urgency", LABEL2ID)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (csv_of().encode(), "CSV with commas in UTF-8"),
        (csv_of().encode("utf-8-sig"), "CSV with commas in UTF-8 (BOM)"),
        (csv_of().encode("utf-16"), "CSV with commas in UTF-16"),
        (csv_of(";").encode(), "CSV with semicolons in UTF-8"),
        (csv_of("\t").encode("utf-16"), "CSV with tabs in UTF-16"),
        (csv_of(header=("Text", " URGENCY ")).encode(), "CSV with commas in UTF-8"),
        (
            "\n".join(json.dumps({"id": 1, "text": t, "label": n}) for t, n in LINES).encode(),
            "JSON lines in UTF-8",
        ),
        (
            json.dumps([{"grievance": t, "label": LABEL2ID[n]} for t, n in LINES]).encode("utf-8-sig"),
            "JSON in UTF-8 (BOM)",
        ),
    ],
)
def test_a_file_is_read_as_it_says_itself(file: Path, content: bytes, kind: str) -> None:
    rows = read(file, content)
    assert list(zip(rows.texts, rows.labels, strict=True)) == LINES
    assert rows.kind == kind


def test_a_parquet_file_is_read(file: Path) -> None:
    pq.write_table(pa.table({"text": [t for t, _ in LINES], "urgency": [n for _, n in LINES]}), file)
    rows = read_rows(file, "urgency", LABEL2ID)
    assert (rows.texts, rows.kind) == ([text for text, _ in LINES], "Parquet")
    assert rows.read_as == {"grievance": "text", "label": "urgency"}


def test_columns_that_are_not_needed_are_named_and_left(file: Path) -> None:
    rows = read(file, "id,grievance,Department,urgency\n1,a,nonsense,urgent\n")
    assert (rows.labels, rows.ignored) == (["URGENT"], ["id", "Department"])


def test_rows_without_text_or_label_are_left_out_by_their_number_in_the_file(file: Path) -> None:
    rows = read(file, 'grievance,urgency\na,NORMAL\n" ",NORMAL\n\nb,\nc,1\n')
    assert rows.texts == ["a", "c"]
    assert list(rows.dropped_lines()) == [
        "1 row (number 3; the header is row 1) without a text",
        "1 row (number 5; the header is row 1) without a label",
    ]


SECRET = "मेरो गोप्य कुरा"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04rest", 'it is an Excel workbook or a zip archive. Save it as "CSV UTF-8"'),
        (b"\x1f\x8brest", "it is compressed"),
        ("grievance,urgency\nun été,NORMAL\n".encode("cp1252"), "line 2 is not UTF-8 (byte 0xe9)"),
        ("grievance,urgency\na,NORMAL\n".encode("utf-16-le"), "it has NUL characters, as UTF-16 without"),
        (b"\xff\xfeabc", "it begins as UTF-16 and is damaged"),
        (
            f"a,b,c\n{SECRET},2,3\n",
            "it has no column grievance or text and no column label or urgency. Read as",
        ),
        (f"grievance,ward\n{SECRET},2\n", "its columns are 'grievance', 'ward'"),
        (
            f"grievance,urgency\na,NORMAL\n{SECRET},b,URGENT\n",
            "row 3 (the header is row 1) has 3 fields, the",
        ),
        (
            f'grievance,urgency\na,NORMAL\n"{SECRET},URGENT\n',
            "row 3 (the header is row 1) can't be read as CSV",
        ),
        (
            f"grievance,urgency\n{SECRET},hurry\nb,2\n",
            "2 rows (number 2, 3; the header is row 1) with an unknown",
        ),
        ("grievance,grievance,urgency\na,b,NORMAL\n", "its header has 'grievance' twice"),
        ("grievance,urgency\n", "it has no row with a text and a label. Read as CSV"),
        (f'{{"text": "{SECRET}", "label": 0}}\n{{"text": \n', "line 2 is no JSON"),
        ('{"text": 7, "label": 0}\n', "1 row (number 1; the first is 1) without a text in column text"),
        ("[1, 2]", "2 rows (number 1, 2; the first is 1) is no object"),
        (b"PAR1 and no more", "it begins as Parquet and is damaged"),
    ],
)
def test_what_can_not_be_read_is_said_in_a_sentence_without_a_text(
    file: Path, content: bytes | str, said: str
) -> None:
    with pytest.raises(DatasetError) as refused:
        read(file, content)
    assert str(refused.value).startswith(f"{file}: ")
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.csv does not exist"):
        read_rows(tmp_path / "none.csv", "urgency", LABEL2ID)
    (tmp_path / "train.csv").touch()
    with pytest.raises(DatasetError, match=r"is a folder \(it has 'train\.csv'\)\. Name one file"):
        read_rows(tmp_path, "urgency", LABEL2ID)


def test_a_column_split_is_taken_as_it_is(file: Path) -> None:
    rows = read(file, "text,label,split\na,0,train\nb,1,test\nc,0,validation\nd,0,train\n")
    assert given_splits(rows) == {"train": [0, 3], "eval": [2], "test": [1]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\na,0\n", "has no column split"),
        ("text,label,split\na,0,train\nb,0,test\n", "The column split has 'test', 'train'."),
        (
            "text,label,split\na,0,train\nb,0,test\nc,0,eval\nd,0,later\n",
            "has 'eval', 'later', 'test', 'train'",
        ),
    ],
)
def test_a_column_split_that_is_none_is_refused(file: Path, content: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        given_splits(read(file, content))
