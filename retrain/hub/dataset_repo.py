"""A data set repository: the commit of a branch or tag, its version tag, its splits."""

from typing import Any

from huggingface_hub import HfApi

from retrain.errors import DatasetError
from retrain.hub.client import hub_errors
from retrain.records import VERSION_TAG


class DatasetRepo:
    """A data set on the Hub. Every method raises DatasetError if it is not there or can't be read."""

    def __init__(self, api: HfApi, repo_id: str) -> None:
        self.repo_id = repo_id
        self._api = api

    def revision(self, name: str | None = None) -> str:
        """The commit of a branch or tag; main's unless given."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            return str(self._api.dataset_info(self.repo_id, revision=name).sha)

    def version_tag(self, revision: str) -> str | None:
        """The newest version tag on a commit."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            tags = self._api.list_repo_refs(self.repo_id, repo_type="dataset").tags
        # Version tags sort by the time in their name; the server's own order means nothing.
        here = (tag.name for tag in tags if VERSION_TAG.match(tag.name) and tag.target_commit == revision)
        return max(here, default=None)

    def files(self) -> list[str]:
        """The paths of its files at main."""
        with hub_errors("read the data set", self.repo_id, DatasetError):
            return self._api.list_repo_files(self.repo_id, repo_type="dataset")

    def load(self, revision: str) -> Any:
        """The splits at a commit, as a datasets.DatasetDict."""
        import datasets  # heavy, and needed by runs only

        with hub_errors("download the data set", self.repo_id, DatasetError):
            try:
                return datasets.load_dataset(self.repo_id, revision=revision, token=self._api.token)
            except (ValueError, datasets.exceptions.DatasetsError, FileNotFoundError) as error:
                reason = str(error).splitlines()[0][:300]
                raise DatasetError(
                    f"The data set {self.repo_id} at {revision} can't be read ({reason}). "
                    "Push it anew with DatasetDict.push_to_hub and the splits train, eval and test."
                ) from error
