"""The one client of the Hub: time-outs on every call, proxies, errors of the tree. See retries.py, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from huggingface_hub.utils._http import hf_request_event_hook  # the default client has it too

from retrain.errors import HubError, RetrainError
from retrain.hub.retries import RetryingClient, Watcher


def configure_hub_client(timeout: float = 60.0) -> None:
    """Give all of huggingface_hub (and so datasets and transformers) this client, for the whole process.

    timeout: seconds without a byte before a call fails. Proxies are those of the environment.
    """
    set_client_factory(
        lambda: RetryingClient(
            event_hooks={"request": [hf_request_event_hook]},
            follow_redirects=True,
            timeout=httpx.Timeout(timeout, connect=10.0),
        )
    )


def connect(token: str | None, watcher: Watcher | None = None) -> HfApi:
    """The client for one account: the only place where one is made.

    watcher: informed from now on of the waits that the Hub asks for, by all clients of this process.
    """
    RetryingClient.watcher = watcher or RetryingClient.watcher
    configure_hub_client()
    return HfApi(token=token)


def account(api: HfApi) -> dict[str, Any]:
    """The account of the token, and what the token may do: the Hub's answer to whoami."""
    with hub_errors("check HF_TOKEN at", api.endpoint):
        return api.whoami()


def token_role(api: HfApi) -> str:
    """What the token may do, as in "write"; "unknown" where the Hub does not say."""
    return str(account(api).get("auth", {}).get("accessToken", {}).get("role", "unknown"))


def check_token(api: HfApi) -> None:
    """Say at the start, rather than after hours of training, that nothing can be published.

    Raises:
        HubError: HF_TOKEN is not accepted or may only read.
    """
    if token_role(api) == "read":
        raise HubError("HF_TOKEN may only read, and the run publishes a model. Make one with write access.")


def repository_exists(api: HfApi, repo_id: str, kind: str) -> bool:
    """Whether there is such a repository that the token may see; kind: "dataset" or "model"."""
    return api.repo_exists(repo_id, repo_type=kind)


def create_repository(api: HfApi, repo_id: str, kind: str) -> None:
    """Create a private repository; kind: "dataset" or "model"."""
    api.create_repo(repo_id, repo_type=kind, private=True, exist_ok=True)


@contextmanager
def hub_errors(doing: str, repo_id: str, raised: type[RetrainError] = HubError) -> Iterator[None]:
    """Turn what huggingface_hub raises inside the block into an error of the tree.

    doing: what was tried, as in "read the data set"; raised: the class to raise.
    """
    try:
        yield
    except LocalEntryNotFoundError as error:  # the client looked into its cache, having got no answer
        raise raised(
            f"Could not {doing} {repo_id}: the Hub can't be reached. Restart the run later.", transient=True
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = (error.server_message or "").splitlines()
        transient = status == 429 or status >= 500
        if status in (401, 403):
            cause = (
                "HF_TOKEN is not accepted or lacks the permission. Give it write access to this repository"
            )
        elif status == 404:
            cause = "it does not exist, or HF_TOKEN may not see it. Check the name and the token's scopes"
        elif transient:
            cause = "the Hub is overloaded or down, also after retries. Restart the run later"
        else:
            cause = "the Hub refused it"
        detail = f"status {status}" + (f": {said[0][:200]}" if said else "")
        raise raised(f"Could not {doing} {repo_id}: {cause} ({detail}).", transient=transient) from error
    except (httpx.TransportError, ConnectionError, TimeoutError) as error:
        raise raised(
            f"Could not {doing} {repo_id}: the Hub can't be reached or dropped the connection "
            f"({type(error).__name__}). Check the network and the Hub's status, then restart.",
            transient=True,
        ) from error
    except HFValidationError as error:
        raise raised(f"Could not {doing} {repo_id}: {error}") from error
