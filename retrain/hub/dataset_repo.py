"""A data set repository: the commit of a branch or tag, its version tag, its splits."""

from typing import Any

from huggingface_hub import HfApi
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
from retrain.records import is_version_tag

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


def _cause_elsewhere(error: BaseException) -> BaseException | None:
    """The cause of an error, if it is the Hub or this machine and not the data; `datasets` wraps them all."""
    for cause in causes(error):
        on_the_machine = isinstance(cause, OSError) and cause.errno is not None
        if on_the_machine or isinstance(cause, (*_OF_THE_HUB, MemoryError)):
            return cause
    return None
