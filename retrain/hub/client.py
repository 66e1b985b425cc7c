"""The one client of the Hub: time-outs, proxies, what the token may do. retries.py has what is repeated."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any

from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)
from huggingface_hub.utils import httpx
from huggingface_hub.utils._http import hf_request_event_hook  # the default client has it too

from retrain.errors import HubError, RetrainError, resource_errors
from retrain.hub.causes import UNWRITABLE, cause_of_refusal, cause_of_silence, unwritable
from retrain.hub.retries import RetryingClient, Watcher

# LocalEntryNotFoundError: the client looked into its cache, having got no answer.
_NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, ConnectionError, TimeoutError, LocalEntryNotFoundError)


def configure_hub_client(timeout: float = 60.0) -> None:
    """Give all of huggingface_hub (and so datasets and transformers) this client, for the whole process.

    timeout: seconds without a byte before a call fails. Proxies are those of the environment.
    """

    def client() -> httpx.Client:
        try:
            return RetryingClient(
                event_hooks={"request": [hf_request_event_hook]},
                follow_redirects=True,
                timeout=httpx.Timeout(timeout, connect=10.0),
            )
        except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:
            raise HubError(
                "The Hub can't be called: one of SSL_CERT_FILE, SSL_CERT_DIR, HTTP_PROXY, HTTPS_PROXY and "
                f"ALL_PROXY can't be used ({type(error).__name__}). A certificate is a PEM file, a proxy an "
                "address such as http://proxy.example:3128; SOCKS is not supported."
            ) from error

    set_client_factory(client)


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


def check_token(api: HfApi, writes_to: Iterable[str] = ()) -> None:
    """Say at the start, rather than after hours of training, that nothing can be published.

    writes_to: the repositories that a fine-grained token must name, or whose owner it must name.

    Raises:
        HubError: HF_TOKEN is not accepted, may only read, or may not write to one of them.
    """
    token = account(api).get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise HubError("HF_TOKEN may only read, and the run publishes a model. Make one with write access.")
    scopes = token.get("fineGrained", {}).get("scoped")
    if token.get("role") != "fineGrained" or scopes is None:
        return
    writable = {str(each["entity"]["name"]).lower() for each in scopes if "repo.write" in each["permissions"]}
    names = {repo_id: {repo_id.lower(), repo_id.split("/")[0].lower()} for repo_id in writes_to}
    if lacking := [repo_id for repo_id, either in names.items() if not either & writable]:
        raise HubError(
            f"HF_TOKEN is fine-grained and may not write to {', '.join(lacking)}. Give it write access to "
            f"contents and settings there, at {api.endpoint}/settings/tokens."
        )


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
    failed = f"Could not {doing} {repo_id}"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        transient = status == 429 or status >= 500
        raise raised(f"{failed}: {cause_of_refusal(error)}.", transient=transient) from error
    except _NO_ANSWER as error:
        raise raised(f"{failed}: {cause_of_silence(error)}.", transient=True) from error
    except HFValidationError as error:
        raise raised(f"{failed}: {error}") from error
    except (JSONDecodeError, FileMetadataError) as error:
        raise raised(
            f"{failed}: what answered is not the Hub. Check HF_ENDPOINT, and whether a proxy wants a login."
        ) from error
    except OSError as error:
        with resource_errors():
            if error.errno not in UNWRITABLE:
                raise
        raise raised(f"{failed}: {unwritable(error)}.") from error
