"""A data set repository: the commit of a branch or tag, its version tag, its splits."""

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from retrain.dataset.faults import quiet_datasets, reason
from retrain.dataset.layout import choose_config, part_eval_from_test
from retrain.dataset.wording import names_shown
from retrain.errors import DatasetError, causes
from retrain.hub.client import hub_errors
from retrain.hub.commits import Commit, Operation, make_commit
from retrain.hub.model_repo import next_version_tag
from retrain.records import is_version_tag

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = "dataset_metadata.json"
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

    def head(self) -> str | None:
        """The commit at main; None if there is no such data set that the token may see, or no data in it."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            if not self._api.repo_exists(self.repo_id, repo_type="dataset"):
                return None
            files = self._api.list_repo_files(self.repo_id, repo_type="dataset")
        return self.revision() if any(name.endswith(DATA) for name in files) else None

    def metadata(self, revision: str) -> dict[str, Any]:
        """What dataset_metadata.json says at a commit; {} without one, or one that says nothing."""
        try:
            found = json.loads(self._read(METADATA, revision))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def card(self, revision: str) -> str:
        """The data set card at a commit; "" without one."""
        return self._read("README.md", revision)

    def url(self, revision: str) -> str:
        """Where people see a version."""
        return f"{self._api.endpoint}/datasets/{self.repo_id}/tree/{revision}"

    def _read(self, name: str, revision: str) -> str:
        with hub_errors(f"read {name} of", self.repo_id, DatasetError):
            try:
                file = self._api.hf_hub_download(self.repo_id, name, repo_type="dataset", revision=revision)
            except RemoteEntryNotFoundError:
                return ""
        return Path(file).read_text(encoding="utf-8", errors="replace")

    def free_tag(self) -> str:
        """The tag of a version that is made now, later than all that are there."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            tags = self._api.list_repo_refs(self.repo_id, repo_type="dataset").tags
        return next_version_tag(datetime.now(UTC), (tag.name for tag in tags))

    def publish(
        self,
        splits: Mapping[str, Sequence[Mapping[str, Any]]],
        version_tag: str | None = None,
        types: "Mapping[str, pa.DataType] | None" = None,
    ) -> str:
        """Publish the splits as a version, see publish_files; returns the tag.

        types: for columns whose type can't be inferred.
        """
        files: dict[str, Any] = {
            parquet_name(name): _parquet(rows, types or {}) for name, rows in splits.items()
        }
        self.create()
        parent = self.revision()
        card = self.card(parent)
        if card and (changed := _without_data(card)):
            files["README.md"] = changed.encode()
        return self.publish_files(files, version_tag or self.free_tag(), parent)

    def create(self) -> None:
        """Make the repository, private, if there is none."""
        with hub_errors("create the data set", self.repo_id, DatasetError):
            self._api.create_repo(self.repo_id, repo_type="dataset", private=True, exist_ok=True)

    def publish_files(self, files: Mapping[str, bytes | Path], version_tag: str, parent: str | None) -> str:
        """Commit files in place of the data on `parent`, main as it was read, and tag it; returns the tag.

        Raises:
            DatasetError: somebody else has committed meanwhile, or the commit or its tag could not be made.
        """
        with hub_errors("read the data set", self.repo_id, DatasetError):
            there = self._api.list_repo_files(self.repo_id, repo_type="dataset", revision=parent)
        stale = [name for name in there if name.endswith(DATA) and name not in files]
        operations: list[Operation] = [
            *(CommitOperationDelete(name) for name in stale),
            *(CommitOperationAdd(name, content) for name, content in files.items()),
        ]
        commit = Commit(
            operations, parent, version_tag, repo_type="dataset", failed=DatasetError, moved=DatasetError
        )
        self.tag(version_tag, make_commit(self._api, self.repo_id, commit))
        return version_tag

    def tag(self, version_tag: str, revision: str) -> None:
        """Tag a commit; that it is tagged so already is no failure.

        Raises:
            DatasetError: the tag could not be made, or is on another commit.
        """
        with hub_errors(f"tag {revision[:12]} as {version_tag} in", self.repo_id, DatasetError):
            try:
                self._api.create_tag(self.repo_id, tag=version_tag, revision=revision, repo_type="dataset")
            except (HfHubHTTPError, httpx.TransportError):
                tags = self._api.list_repo_refs(self.repo_id, repo_type="dataset").tags
                if {each.name: each.target_commit for each in tags}.get(version_tag) != revision:
                    raise

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


def parquet_name(split: str) -> str:
    """Where the rows of a split stand, as `datasets` itself pushes them."""
    return f"data/{split}-00000-of-00001.parquet"


def _without_data(content: str) -> str | None:
    """A card without what it says of the files that are replaced; None if it says nothing of them."""
    card = DatasetCard(content, ignore_metadata_errors=True)
    said = [card.data.pop(name, None) for name in ("configs", "dataset_info")]
    return str(card) if any(said) else None


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
