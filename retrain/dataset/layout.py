"""Which config, files, splits and columns of a data set are meant, as people lay them out. Pure functions."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

SPLITS = ("train", "eval", "test")
# What the validation split is called elsewhere; `datasets` itself names the files of the last three so.
VALIDATION = ("validation", "val", "valid", "dev")
_SEPARATORS = re.compile(r"[-._ 0-9]+")  # those of `datasets` in the names of files
_MEANT = {"eval": "eval", "evaluation": "eval", "test": "test", "testing": "test"}
EVAL_TRAP = (
    " `datasets` reads files named eval* as the split test: name the files of eval validation*, or push with "
    "DatasetDict.push_to_hub."
)


def choose_config(names: Sequence[str], default: str | None, label: str | None) -> str | None:
    """The config to load: the only one or the default, or else the one named as the label set."""
    if len(names) <= 1 or default is not None:
        return default
    return _find(names, label) if label else None


def choose_splits(names: Collection[str]) -> dict[str, str]:
    """The names of train, eval and test, as far as they are there; a validation split stands in for eval."""
    found = {split: _find(names, split) for split in SPLITS}
    if found["eval"] is None:
        others = [name for name in VALIDATION if name in names]
        found["eval"] = others[0] if others[:1] == ["validation"] or len(others) == 1 else None
    return {split: name for split, name in found.items() if name is not None}


def choose_columns(names: Collection[str], label: str | None) -> dict[str, str]:
    """The columns of text and label, as far as they are there, by the names that they are given."""
    text = _find(names, "grievance") or _find(names, "text")
    labels = _find(names, "label") or (_find(names, label) if label else None)
    return {name: column for name, column in (("grievance", text), ("label", labels)) if column is not None}


def part_eval_from_test(files: Mapping[str, Iterable[str]]) -> dict[str, list[str]] | None:
    """The files of each split, if those of eval were taken for test and can be told apart by their names.

    files: paths in the repository by split, as `datasets` sorted them: eval.csv and test.csv are both test.
    """
    meant: dict[str, list[str]] = {"eval": [], "test": []}
    if "eval" in files:
        return None
    for file in files.get("test", ()):
        split = _split_of(file)
        if split is None:
            return None
        meant[split].append(file)
    return {name: list(paths) for name, paths in files.items()} | meant if all(meant.values()) else None


def _split_of(file: str) -> str | None:
    """eval or test, by the name of a file, or else of the nearest folder that is called so."""
    path = PurePosixPath(file)
    for part in (path.name.partition(".")[0], *reversed(path.parts[:-1])):
        found = {_MEANT[word] for word in _SEPARATORS.split(part.casefold()) if word in _MEANT}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _find(names: Collection[str], wanted: str) -> str | None:
    """A name to the letter, or else the only one with other case or surrounding blanks."""
    if wanted in names:
        return wanted
    alike = [name for name in names if name.strip().casefold() == wanted.casefold()]
    return alike[0] if len(alike) == 1 else None
