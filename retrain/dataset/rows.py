"""Reads the texts and labels of one file: CSV, JSON lines, JSON or Parquet, as far as nothing is guessed.

Knows no Hub. A message gives rows by their number in the file, and never a text.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrain.dataset.labels import label_ids
from retrain.dataset.layout import choose_columns, choose_splits
from retrain.dataset.texts import normalise
from retrain.dataset.wording import ROWS_SHOWN, names_shown, shown
from retrain.errors import DatasetError

BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# What a file begins with that is none of ours.
OTHERS = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed",
    b"%PDF": "a PDF document",
}
_REMEDY = 'Save it as "CSV UTF-8"'
Record = Mapping[str, Any]


@dataclass
class Rows:
    """The rows of a file that have a text and a label.

    labels: names of the label set; splits: what the column `split` says of each row, if there is one;
    read_as: what was read in place of what; dropped: the numbers of rows, by the reason; note: how rows are
    counted.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] | None = None
    kind: str = ""
    read_as: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    dropped: dict[str, list[int]] = field(default_factory=dict)
    note: str = ""

    def dropped_lines(self) -> Iterator[str]:
        """A line for each reason for which rows were left out."""
        for why, numbers in self.dropped.items():
            yield f"{numbered(numbers, self.note)} {why}"


def numbered(numbers: Sequence[int], note: str) -> str:
    """How many rows, and the numbers of the first in the file."""
    first = ", ".join(map(str, numbers[:ROWS_SHOWN])) + (", …" if len(numbers) > ROWS_SHOWN else "")
    return f"{len(numbers)} row{'s' if len(numbers) > 1 else ''} (number {first}; {note})"


def read_rows(file: Path, label: str, label2id: Mapping[str, int], named: str | None = None) -> Rows:
    """The texts and labels of a file.

    label: the label set's name, for its column; named: what the file is called in messages.

    Raises:
        DatasetError: it can't be read, or lacks what is wanted; the message says what was found.
    """
    named = named or str(file)
    if file.is_dir():
        inside = sorted(each.name for each in file.iterdir() if each.is_file())
        found = f"it has {names_shown(inside)}" if inside else "it has no file"
        raise DatasetError(f"{named} is a folder ({found}). Name one file: CSV, JSON lines or Parquet.")
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"{named} does not exist. Check the name; it is sought in {Path.cwd()}.") from None
    except OSError as error:
        raise DatasetError(f"{named} can't be read ({error.strerror}).") from error
    try:
        kind, columns, records, first, note = _parse(content, label)
        return _chosen(kind, columns, records, (first, note), label, label2id)
    except DatasetError as error:
        raise DatasetError(f"{named}: {error}") from error.__cause__


def _parse(content: bytes, label: str) -> tuple[str, list[str], list[Record], int, str]:
    """Its format, columns and records; the number of the first record, and how rows are counted."""
    if not content.strip():
        raise DatasetError("it is empty. Give it the columns grievance and label, and rows.")
    for start, what in OTHERS.items():
        if content.startswith(start):
            raise DatasetError(f"it is {what}. {_REMEDY}, or as Parquet or JSON lines.")
    if content.startswith(b"PAR1"):
        columns, records = _parquet(content)
        return "Parquet", columns, records, 1, "the first is 1"
    text, encoding = _decoded(content)
    if text.lstrip()[:1] in ("{", "["):
        kind, records = _json(text)
        columns = list(dict.fromkeys(column for record in records for column in record))
        return f"{kind} in {encoding}", columns, records, 1, "the first is 1"
    kind, columns, records = _csv(text, encoding, label)
    return kind, columns, records, 2, "the header is row 1"


def _decoded(content: bytes) -> tuple[str, str]:
    """The text of a file, and its encoding: that of its BOM, or else UTF-8 and no other."""
    encoding = next((name for bom, name in BOMS.items() if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise DatasetError(f"it begins as UTF-16 and is damaged. {_REMEDY}.") from error
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x}). Its encoding can't be known for "
            f"sure; a file of Windows is often in cp1252. {_REMEDY}."
        ) from error
    if "\0" in text[:1000]:
        raise DatasetError(f"it has NUL characters, as UTF-16 without its mark has. {_REMEDY}.")
    return text, {"utf-8-sig": "UTF-8 (BOM)", "utf-16": "UTF-16"}.get(encoding, "UTF-8")


def _csv(text: str, encoding: str, label: str) -> tuple[str, list[str], list[Record]]:
    """Its format, columns and records; the delimiter is the one with which the header has what is wanted."""
    headers = {delimiter: _header(text, delimiter) for delimiter in DELIMITERS}
    fitting = [each for each in headers if len(choose_columns(headers[each], label)) == 2]
    delimiter = fitting[0] if fitting else max(headers, key=lambda each: len(headers[each]))
    columns, kind = headers[delimiter], f"CSV with {DELIMITERS[delimiter]} in {encoding}"
    _wanted(columns, kind, label)
    if doubles := sorted({name for name in columns if columns.count(name) > 1 and name}):
        raise DatasetError(
            f"its header has {names_shown(doubles)} twice. Give each column a name of its own."
        )
    records: list[Record] = []
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 1
    try:
        next(lines)
        for number, values in enumerate(lines, 2):
            if not values:
                records.append({})
            elif len(values) != len(columns):
                raise DatasetError(
                    f"row {number} (the header is row 1) has {len(values)} fields, the header "
                    f"{len(columns)}. Put texts with a delimiter or a line break into quotation marks."
                )
            else:
                records.append(dict(zip(columns, values, strict=True)))
    except csv.Error as error:
        raise DatasetError(
            f"row {number + 1} (the header is row 1) can't be read as CSV ({error}). Is a quotation mark "
            "opened and never closed, or not doubled inside a text?"
        ) from error
    return kind, columns, records


def _header(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _json(text: str) -> tuple[str, list[Record]]:
    """The records of JSON lines, or of one JSON list."""
    if text.lstrip().startswith("["):
        kind = "JSON"
        try:
            records = json.loads(text)
        except ValueError as error:
            raise DatasetError("it begins as a JSON list and is no JSON. Push it as JSON lines.") from error
    else:
        kind, records = "JSON lines", []
        for number, line in enumerate(text.split("\n"), 1):
            try:
                records.append(json.loads(line) if line.strip() else {})
            except ValueError as error:
                raise DatasetError(f"line {number} is no JSON. Give each row a line: an object.") from error
    if bad := [number for number, record in enumerate(records, 1) if not isinstance(record, dict)]:
        raise DatasetError(f"{numbered(bad, 'the first is 1')} is no object with columns.")
    return kind, records


def _parquet(content: bytes) -> tuple[list[str], list[Record]]:
    import pyarrow as pa  # heavy
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError("it begins as Parquet and is damaged. Write it anew.") from error
    return table.column_names, table.to_pylist()


def _wanted(columns: list[str], kind: str, label: str) -> dict[str, str]:
    """The columns of text and label, by the names that they are given."""
    found = choose_columns(columns, label)
    absent = [
        f"no column {names}"
        for column, names in (("grievance", "grievance or text"), ("label", f"label or {label}"))
        if column not in found
    ]
    if absent:
        raise DatasetError(
            f"it has {' and '.join(absent)}. Read as {kind}, its columns are {names_shown(columns)}."
        )
    return found


def _chosen(
    kind: str,
    columns: list[str],
    records: Iterable[Record],
    counted: tuple[int, str],
    label: str,
    label2id: Mapping[str, int],
) -> Rows:
    """The rows with the columns that are wanted, and a text and a label in them."""
    found = _wanted(columns, kind, label)
    first, note = counted
    split = next((name for name in columns if name.strip().casefold() == "split"), None)
    used = {*found.values(), split}
    rows = Rows(kind=kind, note=note, splits=None if split is None else [])
    rows.read_as = {name: column.strip() for name, column in found.items() if name != column.strip()}
    rows.ignored = [name for name in columns if name not in used]
    unknown: dict[str, list[int]] = {}
    not_text: list[int] = []
    names: dict[str, str | None] = {}  # by value: a file has few
    for number, record in enumerate(records, first):
        if not any(value is not None and str(value).strip() for value in record.values()):
            continue  # an empty line
        text, value = (record.get(found[name]) for name in ("grievance", "label"))
        if text is not None and not isinstance(text, str):
            not_text.append(number)
            continue
        if not normalise(text or ""):
            rows.dropped.setdefault("without a text", []).append(number)
            continue
        if value is None or not str(value).strip():
            rows.dropped.setdefault("without a label", []).append(number)
            continue
        if (key := repr(value)) not in names:
            names[key] = _name_of(value, label2id)
        if (name := names[key]) is None:
            unknown.setdefault(shown(value), []).append(number)
            continue
        rows.texts.append(str(text))
        rows.labels.append(name)
        if rows.splits is not None:
            rows.splits.append(str(record.get(str(split)) or "").strip())
    if not_text:
        raise DatasetError(
            f"{numbered(not_text, note)} without a text in column {found['grievance']}: a number."
        )
    if unknown:
        numbers = sorted(number for each in unknown.values() for number in each)
        raise DatasetError(
            f"{numbered(numbers, note)} with an unknown label in column {found['label']} "
            f"({', '.join(sorted(unknown)[:ROWS_SHOWN])}). The labels of {label} are {', '.join(label2id)}, "
            f"or their ids from 0 to {len(label2id) - 1}."
        )
    if not rows.texts:
        dropped = f" ({'; '.join(rows.dropped_lines())})" if rows.dropped else ""
        raise DatasetError(f"it has no row with a text and a label{dropped}. Read as {kind}.")
    return rows


def _name_of(value: Any, label2id: Mapping[str, int]) -> str | None:
    """The label that a value means, as the loader reads it."""
    try:
        (found,) = label_ids("", [value], None, label2id)
    except DatasetError:
        return None
    return list(label2id)[found]


def given_splits(rows: Rows) -> dict[str, list[int]]:
    """Train, eval and test as the column `split` says.

    Raises:
        DatasetError: there is no such column, a split is missing, or it has names that are none.
    """
    if rows.splits is None:
        raise DatasetError(
            "The file has no column split, which --as-is needs: train, eval or test in each row."
        )
    found = choose_splits(sorted(set(rows.splits)))
    others = sorted(set(rows.splits) - set(found.values()))
    if len(found) < 3 or others:
        raise DatasetError(
            f"The column split has {names_shown(sorted(set(rows.splits)))}. It should have train, eval (or "
            "validation) and test, and one of them in each row."
        )
    return {
        name: [row for row, split in enumerate(rows.splits) if split == there]
        for name, there in found.items()
    }
