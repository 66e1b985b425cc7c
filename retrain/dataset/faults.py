"""Why a data set can't be read: what `datasets` raises, followed to its cause and put into a sentence.

The messages of the libraries below it may quote the data, so that none is passed on but those known not to.
"""

import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrain.dataset.wording import names_shown, shown
from retrain.errors import causes

_CARD = "Correct README.md, or take dataset_info and configs out of it"
_PUSH = "push it anew"
_SAID = re.compile(
    r"Expected \d+ fields in line \d+, saw \d+|No columns to parse from file"
    r"|Parquet magic bytes not found in footer|File is not a zip file"
    r"|Dataset scripts are no longer supported|Install \w+ to access \w+|HTTPFileSystem requires [\w\" ]+",
    re.ASCII,
)
_COUNTS = re.compile(r"SplitInfo\(name='([^']*)', [^)]*?num_examples=(\d+)")
_SNAPSHOT = re.compile(r"/snapshots/[0-9a-f]{40}/(.+)")
_REMOTE = re.compile(r"hf://datasets/[^/\s]+/[^/@\s]+(?:@[^/\s]+)?/(\S+)")


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Keep what `datasets` logs out of our log: it quotes the data."""
    logger = logging.getLogger("datasets")
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def reason(error: Exception) -> str:
    """What is wrong with a data set, where, and what to do; without its texts."""
    chain = list(causes(error))
    said, kinds = " ".join(map(str, chain)), {type(each).__name__ for each in chain}
    if sizes := _contradicted_sizes(said):
        return f"the card says {sizes}. Remove dataset_info from README.md"
    if "ExpectedMoreSplitsError" in kinds:
        return f"the card names splits that the files do not have: {_quoted(said)}. {_CARD}"
    if "UnexpectedSplitsError" in kinds:
        return f"the files have splits that the card does not name: {_quoted(said)}. {_CARD}"
    if empty := re.search(r'Instruction "(\w+)" corresponds to no data', said):
        return f"the split {shown(empty[1])} has no row. Fill it, then {_PUSH}"
    if "ImportError" in kinds or "Data files don't belong to" in said or "(repository not found)" in said:
        detail = f" ({known})" if (known := _known(said)) else ""
        outside = f"its card names files outside the repository, which are not fetched{detail}"
        return f"{outside}. Upload the files themselves"
    if "same data file format for all splits" in said:
        return f"its files are of several formats. Give all splits one, then {_PUSH}"
    if absent := re.search(r"Unable to find '([^']*)'", said):
        path = _REMOTE.search(absent[1])
        return f"its card names {shown(path[1] if path else absent[1])}, which is not there. {_CARD}"
    if re.search(r"Expected (configs|data_files)", said):
        return f"what its card says in configs is not understood. {_CARD}"
    if kinds & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return "it has no data file. Push one: Parquet, CSV or JSON lines"
    file = _file_of(chain)
    what, remedy = _fault(chain[-1], said, file)
    if named := _SNAPSHOT.search(str(file)) or _REMOTE.search(said):
        name = named[1] if named[1].isprintable() and len(named[1]) <= 100 else shown(named[1])
        return f"{name}: {what}. {remedy}"
    return f"{what}. {remedy}"


def _fault(root: BaseException, said: str, file: Path | None) -> tuple[str, str]:
    """What is wrong with a file, and the remedy."""
    for each in (root, root.__context__):
        if isinstance(has := getattr(each, "table_column_names", None), list):  # datasets' CastError
            wanted = names_shown(getattr(each, "requested_column_names", ()))
            what = f"it has the columns {names_shown(has)}, where {wanted} are expected"
            return what, "All files, and dataset_info in README.md, must have the same columns"
    if isinstance(root, UnicodeDecodeError):
        return f"{_first_line(file, bytes.decode)}it is not UTF-8", f"Save it as UTF-8, then {_PUSH}"
    if "JSON parse error" in said:
        line = _first_line(file, json.loads)
        return f"{line}it is no JSON" if line else "it is no JSON lines", f"Correct it, then {_PUSH}"
    if quote := re.search(r"EOF inside string starting at row (\d+)", said):
        what = f"line {int(quote[1]) + 1}: a quotation mark is opened and never closed"
        return what, f"Correct it, then {_PUSH}"
    if typed := re.search(r"as a scalar of type (\w+)", said):
        what = f"a value is no {typed[1]}, the type in the first file or in dataset_info of README.md"
        return what, f"Give the column one type, then {_PUSH}"
    if "BatchSize must be greater than 0" in said:  # Parquet
        return "it has no row", f"Fill it, then {_PUSH}"
    if known := _known(said):
        return known, f"Correct it, then {_PUSH}"
    what = "it is damaged" if file else "`datasets` can't load it"
    return f"{what} ({type(root).__name__})", "Push it anew with DatasetDict.push_to_hub"


def _file_of(chain: Iterable[BaseException]) -> Path | None:
    """The file that `datasets` was reading: it only says so in its log, and not always."""
    for error in chain:
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            file = frame.f_locals.get("file")
            if frame.f_globals.get("__name__", "").startswith("datasets.packaged_modules") and file:
                return Path(str(file))
    return None


def _first_line(file: Path | None, parse: Callable[[bytes], Any]) -> str:
    """The first line of a file that can't be parsed, if a line of it can be parsed by itself."""
    if file is None or not file.is_file():
        return ""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                parse(line)
            except ValueError:
                return f"line {number}: " if line.strip() != b"[" else ""
    return ""


def _contradicted_sizes(said: str) -> str:
    """What card and files say of the rows of each split, from a dump of pairs of SplitInfo."""
    found = _COUNTS.findall(said)
    pairs = zip(found[::2], found[1::2], strict=False)
    return "; ".join(f"{card[1]} rows of {shown(card[0])}, the files have {real[1]}" for card, real in pairs)


def _known(said: str) -> str:
    """The part of a message that is known to hold no text of the data."""
    found = _SAID.search(said)
    return found[0] if found else ""


def _quoted(said: str) -> str:
    return names_shown(re.findall(r"'([^']*)'", said))
