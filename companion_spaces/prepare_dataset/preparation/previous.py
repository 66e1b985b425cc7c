"""The version of a data set that the next one builds on: its rows as they are, also when made by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from preparation.entries import in_utc
from retrain.dataset.labels import label_ids
from retrain.dataset.layout import choose_columns, choose_splits
from retrain.errors import DatasetError
from retrain.hub.dataset_repo import DatasetRepo


@dataclass(frozen=True)
class PreviousRow:
    """A row of the version before; group and the rest are None where it was pushed by hand."""

    text: str | None
    label: int
    split: str
    group: str | None
    source: str | None
    probability: float | None


@dataclass(frozen=True)
class Previous:
    """The newest version of a data set, or what stands at its main; `revision` is None if there is nothing.

    edited: main is no longer what the metadata were written for.
    """

    revision: str | None = None
    splits: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    edited: bool = False
    is_private: bool | None = None
    label: str = ""
    label2id: Mapping[str, int] = field(default_factory=dict)

    @property
    def version_tag(self) -> str | None:
        tag = self.metadata.get("version_tag")
        return tag if isinstance(tag, str) else None

    def watermark(self, name: str) -> datetime | None:
        """The time up to which "complaints" or "corrections" are in it."""
        marks = self.metadata.get("watermark")
        try:
            return in_utc(datetime.fromisoformat(marks[name])) if isinstance(marks, dict) else None
        except (KeyError, TypeError, ValueError):
            return None

    def rows(self) -> Iterator[PreviousRow]:
        """All rows, split by split, in their order.

        Raises:
            DatasetError: a label is missing or unknown.
        """
        for name, there in choose_splits(self.splits).items():
            split = self.splits[there]
            columns = choose_columns(split.column_names, self.label)
            if len(columns) < 2:
                raise DatasetError(
                    f"The split {name} that the next version would build on has no column grievance or label "
                    f"(it has {', '.join(split.column_names)}). Name them so."
                )
            feature = split.features[columns["label"]]
            texts, labels = split[columns["grievance"]], split[columns["label"]]
            ids = label_ids(name, labels, getattr(feature, "names", None), self.label2id)
            nothing = [None] * len(ids)
            more = [
                split[column] if column in split.column_names else nothing
                for column in ("group", "source", "probability")
            ]
            for text, label, group, source, probability in zip(texts, ids, *more, strict=True):
                yield PreviousRow(text, label, name, group, source, probability)


def read_previous(repo: DatasetRepo, label: str, label2id: Mapping[str, int]) -> Previous:
    """What main of the data set holds, if it is there and holds data.

    Raises:
        DatasetError: it is there and can't be read.
    """
    head = repo.head()
    if head is None:
        return Previous(label=label, label2id=label2id)
    metadata = repo.metadata(head)
    loaded, _ = repo.load(head, label)
    rows = metadata.get("num_samples")
    edited = bool(metadata) and rows != sum(len(split) for split in loaded.values())
    return Previous(head, loaded, metadata, edited, repo.is_private(), label, label2id)
