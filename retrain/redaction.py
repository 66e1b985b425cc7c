"""Keeps secrets out of everything that leaves the process as text. Knows no settings, only values to hide."""

import json
import logging
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[secret]"

# Hub tokens, W&B keys and bearer headers that come from elsewhere than the settings.
_LOOKS_SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"
    r"|\bwandb_v1_[A-Za-z0-9_]{20,}"
    r"|(?i:(?<=bearer )[\w.~+/=-]{8,})"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
)


class Redactor:
    """Replaces known secrets, and whatever looks like one, by a mask."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Output is masked line by line, so each line of a secret counts as one.
        parts = {part for secret in secrets for part in (secret, *secret.splitlines()) if len(part) >= 4}
        forms = {form for part in parts for form in _forms(part)}
        # Longest first: a secret that begins with another one is hidden whole.
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _LOOKS_SECRET.sub(MASK, text)


def masked(value: Any, redact: Callable[[str], str], keep: Collection[str] = ()) -> Any:
    """A JSON value with each of its strings masked, but no key, and no value of a key in `keep`.

    String by string: a secret that ends in a quotation mark must not take that of the JSON with it.
    """
    if isinstance(value, dict):
        return {name: each if name in keep else masked(each, redact, keep) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each, redact, keep) for each in value]
    return redact(value) if isinstance(value, str) else value


def _forms(secret: str) -> set[str]:
    """A secret as it stands in text, in JSON, in a `repr`, and in parts of a URL."""
    in_json = (json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    return {secret, *in_json, repr(secret)[1:-1], quote(secret), quote(secret, safe=""), quote_plus(secret)}


class RedactingFilter(logging.Filter):
    """A logging filter for handlers: masks message, arguments and traceback of any logger."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redact(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._redact(self._formatter.formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        return True


def set_up_logging(redact: Redactor) -> None:
    """Log to the standard output, for the container's log; replaces what was set up before."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(redact))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("httpx", "httpx2", "filelock", "fsspec", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries end as a cause in our own words
