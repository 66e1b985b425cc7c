"""A data set repository: the commit of a branch or tag, its version tag, its splits."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from retrain.dataset.faults import quiet_datasets, reason
from retrain.dataset.layout import choose_config, part_eval_from_test
from retrain.dataset.wording import names_shown
from retrain.errors import DatasetError, causes
from retrain.hub.client import hub_errors
from retrain.hub.model_repo import next_version_tag
from retrain.records import is_version_tag

if TYPE_CHECKING:
    import pyarrow as pa

# Files that `datasets` would read beside new ones.
DATA = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".arrow", ".zip", ".gz")
# What hub_errors has words for.
_OF_THE_HUB = (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    HFValidationError,
    httpx.TransportError,
    ConnectionError,
    TimeoutError,
)


class DatasetRepo:
    """A data set on the Hub. Every method raises DatasetError if it is not there or can't be read."""

    def __init__(self, api: HfApi, repo_id: str) -> None:
        self.repo_id = repo_id
        self._api = api

    def revision(self, name: str | None = None) -> str:
        """The commit of a branch or tag; main's unless given."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            try:
                return str(self._api.dataset_info(self.repo_id, revision=name).sha)
            except RevisionNotFoundError as error:
                refs = self._api.list_repo_refs(self.repo_id, repo_type="dataset")
                branches, tags = ([ref.name for ref in each] for each in (refs.branches, refs.tags))
                there = names_shown([*branches, *sorted(tags, reverse=True)])
                raise DatasetError(
                    f"DATASET_REVISION={name} is no branch, tag or commit of {self.repo_id}. It has {there}."
                ) from error

    def version_tag(self, revision: str) -> str | None:
        """The newest version tag on a commit."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            tags = self._api.list_repo_refs(self.repo_id, repo_type="dataset").tags
        # Version tags sort by the time in their name; the server's own order means nothing.
        here = (tag.name for tag in tags if is_version_tag(tag.name) and tag.target_commit == revision)
        return max(here, default=None)

    def is_private(self) -> bool | None:
        """Whether it is private; None if there is no such data set that the token may see."""
        with hub_errors("look for the data set", self.repo_id, DatasetError):
            if not self._api.repo_exists(self.repo_id, repo_type="dataset"):
                return None
            return bool(self._api.dataset_info(self.repo_id).private)

    def publish(
        self,
        splits: Mapping[str, Sequence[Mapping[str, Any]]],
        version_tag: str | None = None,
        types: "Mapping[str, pa.DataType] | None" = None,
    ) -> str:
        """Commit the splits as Parquet in place of the data there, and tag the commit; returns the tag.

        The repository is made, private, if there is none. types: for columns whose type can't be inferred.
        """
        with hub_errors("publish the data set", self.repo_id, DatasetError):
            self._api.create_repo(self.repo_id, repo_type="dataset", private=True, exist_ok=True)
            tags = self._api.list_repo_refs(self.repo_id, repo_type="dataset").tags
            version_tag = version_tag or next_version_tag(datetime.now(UTC), (tag.name for tag in tags))
            new = {f"data/{name}-00000-of-00001.parquet": rows for name, rows in splits.items()}
            there = self._api.list_repo_files(self.repo_id, repo_type="dataset")
            stale = [name for name in there if name.endswith(DATA) and name not in new]
            operations: list[Any] = [CommitOperationDelete(name) for name in stale]
            operations += [
                CommitOperationAdd(name, _parquet(rows, types or {})) for name, rows in new.items()
            ]
            if "README.md" in there and (card := self._card_without_data()):
                operations.append(CommitOperationAdd("README.md", card))
            commit = self._api.create_commit(
                self.repo_id, operations, commit_message=version_tag, repo_type="dataset"
            )
            self._api.create_tag(self.repo_id, tag=version_tag, revision=commit.oid, repo_type="dataset")
            return version_tag

    def _card_without_data(self) -> bytes | None:
        """The card without what it says of the files that are replaced; None if it says nothing of them."""
        file = self._api.hf_hub_download(self.repo_id, "README.md", repo_type="dataset")
        card = DatasetCard.load(file, ignore_metadata_errors=True)
        said = [card.data.pop(name, None) for name in ("configs", "dataset_info")]
        return str(card).encode() if any(said) else None

    def load(self, revision: str, label: str | None = None) -> tuple[Any, dict[str, str]]:
        """The splits at a commit, as a datasets.DatasetDict, and what was read in place of what.

        label: the name of the label set, and of the config to take where there are several and no default.
        """
        with hub_errors("download the data set", self.repo_id, DatasetError), quiet_datasets():
            try:
                return self._load(revision, label)
            except DatasetError:
                raise
            except Exception as error:
                if (cause := _cause_elsewhere(error)) is not None:
                    raise cause from None
                raise DatasetError(
                    f"The data set {self.repo_id} at {revision[:12]} can't be read: {reason(error)}."
                ) from error

    def _load(self, revision: str, label: str | None) -> tuple[Any, dict[str, str]]:
        import datasets  # heavy, and needed by runs only

        datasets.disable_progress_bars()
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # a call to another host, for statistics
        # Without hf:// a folder of this name in the working directory would be read in its place.
        place: dict[str, Any] = {
            "path": f"hf://datasets/{self.repo_id}",
            "revision": revision,
            "token": self._api.token,
        }
        names = datasets.get_dataset_config_names(**place)
        default = datasets.get_dataset_default_config_name(**place)
        config = choose_config(names, default, label)
        if len(names) > 1 and config is None:
            raise DatasetError(
                f"The data set {self.repo_id} has several configs, {names_shown(names)}, and none is the "
                f"default one or named as LABEL={label}. Rename one, or mark one with `default: true` in "
                "README.md."
            )
        read_as = {"config": config.strip()} if config is not None and config != default else {}
        builder = datasets.load_dataset_builder(**place, name=config)
        files = {
            str(split): [str(path).partition(f"@{revision}/")[2] for path in paths]
            for split, paths in (builder.config.data_files or {}).items()
        }
        if parted := part_eval_from_test(files):
            read_as |= {"eval": names_shown(parted["eval"]), "test": names_shown(parted["test"])}
            builder = datasets.load_dataset_builder(**place, name=config, data_files=parted)
        builder.download_and_prepare()
        return builder.as_dataset(), read_as


def _parquet(rows: Sequence[Mapping[str, Any]], types: "Mapping[str, pa.DataType]") -> bytes:
    import pyarrow as pa  # heavy
    import pyarrow.parquet as pq

    columns = {column: pa.array([row[column] for row in rows], types.get(column)) for column in rows[0]}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _cause_elsewhere(error: BaseException) -> BaseException | None:
    """The cause of an error, if it is the Hub or this machine and not the data; `datasets` wraps them all."""
    for cause in causes(error):
        on_the_machine = isinstance(cause, OSError) and cause.errno is not None
        if on_the_machine or isinstance(cause, (*_OF_THE_HUB, MemoryError)):
            return cause
    return None
