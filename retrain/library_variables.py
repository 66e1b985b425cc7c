"""Variables that libraries read, mostly at import: what would end the process or bar its way is taken out.

Whatever the environment holds, the supervisor must come to the pause of its Space. Imports no library.
"""

import math
import re
import ssl
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

COUNTS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "NUMPY_MADVISE_HUGEPAGE")
WHOLE_NUMBERS = ("TQDM_POSITION", "TQDM_NCOLS", "TQDM_INITIAL")
NUMBERS = (
    "HF_DATASETS_IN_MEMORY_MAX_SIZE",
    "TQDM_MININTERVAL",
    "TQDM_MAXINTERVAL",
    "TQDM_MINITERS",
    "TQDM_SMOOTHING",
    "TQDM_DELAY",
)
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def take_out_unusable(environ: MutableMapping[str, str]) -> list[str]:
    """Take out what can't be used; returns a warning for each. A proxy's address may hold a password."""
    faults = dict(_faults(environ))
    for name in faults:
        del environ[name]
    if "HF_ENDPOINT" in environ:  # datasets puts paths behind it as it is
        environ["HF_ENDPOINT"] = environ["HF_ENDPOINT"].rstrip("/")
    return [f"{name} is ignored: {fault}." for name, fault in faults.items()]


def _faults(environ: MutableMapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        shown = f"{value[:80]!r}"
        if name in COUNTS + WHOLE_NUMBERS and not re.fullmatch("-?[0-9]{1,9}", value):
            yield name, f"{shown} should be a whole number such as 10"
        elif name in COUNTS and value.startswith("-"):
            yield name, f"{shown} should be 0 or more"
        if name in NUMBERS and not _is_number(value):
            yield name, f"{shown} should be a number such as 10"
        if name in OFFLINE and value.upper() in ("1", "ON", "YES", "TRUE"):
            yield name, "a run reads from the Hub and writes to it"
        if name in CERTIFICATES and not _holds_certificates(value, or_folder=name != "SSL_CERT_FILE"):
            yield name, f"{shown} should be a file with certificates, as PEM"
        if name == "HF_HUB_USER_AGENT_ORIGIN" and not re.fullmatch("[ -~]*", value):
            yield name, f"{shown} should be of visible ASCII characters, as it goes into a header"
        if name.upper() in PROXIES and not _is_proxy(value):
            yield name, "it should be an address such as http://proxy.example:3128; SOCKS is not supported"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _holds_certificates(file: str, *, or_folder: bool) -> bool:
    """Whether it is a PEM file; requests takes a folder, too."""
    try:
        if or_folder and Path(file).is_dir():
            return True
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError):
        return False
    return True


def _is_proxy(value: str) -> bool:
    """Whether httpx takes it; without a scheme it is taken for http."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False
