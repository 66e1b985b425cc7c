"""Why a call to the Hub failed, in words that say what to do. Knows no repository and calls nothing."""

import errno
import re
from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

# What a folder that is no folder, that others own, or whose disk fails or is full for us answers.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EDQUOT, errno.EIO)


def cause_of_refusal(error: HfHubHTTPError) -> str:
    """Of an answer that is none: the cause, what to do, and what the Hub said."""
    status = error.response.status_code
    said = (error.server_message or "").splitlines()
    if isinstance(error, GatedRepoError):
        cause = "it is gated. Ask for access on its page with the account of HF_TOKEN, which must be allowed "
        cause += "to read gated repositories"
    elif status in (402, 403, 413) and re.search("storage|quota", " ".join(said), re.IGNORECASE):
        cause = (
            "the storage of the account is used up. Delete what is not needed on the Hub, or get more there"
        )
    elif status == 402:
        cause = "it has to be paid for. Add credit to the account that owns it, or subscribe"
    elif status == 401:
        cause = "HF_TOKEN is not accepted: it is wrong, or has expired. Make a new one in your settings there"
    elif status == 403:
        cause = "HF_TOKEN lacks the permission. Give it write access to this repository"
    elif status == 404:
        cause = "it does not exist, or HF_TOKEN may not see it. Check the name and the token's scopes"
    elif status == 429:
        cause = "the Hub limits the rate of calls, also after minutes of waiting. Restart the run later"
    elif status >= 500:
        cause = "the Hub is overloaded or down, also after retries. Restart the run later"
    else:
        cause = "the Hub refused it"
    return f"{cause} (status {status}" + (f": {said[0][:200]})" if said else ")")


def cause_of_silence(error: BaseException) -> str:
    """Of no answer, or one that was not enough: the cause and what to do."""
    kind = type(error).__name__
    for each in _chain(error):
        text = str(each)
        if isinstance(each, HfHubHTTPError):
            return cause_of_refusal(each)
        if isinstance(each, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and a run needs the Hub. Take it out"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return (
                "the certificate of the Hub, or of a proxy in between, is not trusted. If it is that of a "
                "company's proxy, name a file with the company's CA in SSL_CERT_FILE and REQUESTS_CA_BUNDLE"
            )
        if isinstance(each, httpx.ProxyError):
            return (
                f"the proxy refused it ({text[:100]}). Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY"
            )
        if isinstance(each, httpx.UnsupportedProtocol):
            return f"HF_ENDPOINT={constants.ENDPOINT!r} is no address. Take it out, or set an https:// URL"
        if isinstance(each, httpx.TransportError):
            kind = type(each).__name__
            break
    at = "" if constants.ENDPOINT == "https://huggingface.co" else f" at HF_ENDPOINT={constants.ENDPOINT}"
    return (
        f"the Hub{at} can't be reached or dropped the connection ({kind}). Check the network "
        "and the Hub's status, then restart"
    )


def unwritable(error: OSError) -> str:
    """Of a file on this machine that can't be read or written: which one, and the variable of its folder."""
    name = error.filename or "a file"
    return (
        f"{name} can't be read or written here ({error.strerror}). What is downloaded is kept in "
        f"HF_HOME={constants.HF_HOME}: set HF_HOME to a folder that can be written"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
