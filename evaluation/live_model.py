"""Asks the live inference API for its predictions. Knows the API's JSON, not which model stands behind it."""

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

BATCH_SIZE = 16
REQUESTS_AT_A_TIME = 4
TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte of the answer

logger = logging.getLogger(__name__)


class _RefusedError(Exception):
    """The API answered, but not with predictions."""


def make_session(api_token: SecretStr | None) -> requests.Session:
    """A session that retries named transient errors, with back-off, jitter and Retry-After."""
    retry = Retry(
        total=3,
        read=1,  # a model that hangs once may be waking up; twice is enough
        backoff_factor=0.5,
        backoff_jitter=0.5,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,  # predicting changes nothing, so a POST may be repeated
        raise_on_status=False,
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry, pool_maxsize=REQUESTS_AT_A_TIME))
    session.mount("https://", HTTPAdapter(max_retries=retry, pool_maxsize=REQUESTS_AT_A_TIME))
    session.headers["Accept"] = "application/json"
    if api_token:
        session.headers["Authorization"] = f"Bearer {api_token.get_secret_value()}"
    return session


def ask_live_model(
    session: requests.Session,
    endpoint: str,
    texts: Sequence[str],
    label2id: Mapping[str, int],
    *,
    failures_allowed: int,
    timeout: tuple[float, float] = TIMEOUT,
    on_progress: Callable[[int], None] = lambda answered: None,
) -> tuple[list[int | None], dict[str, int]]:
    """Ask for every text, in batches, several at a time; where the API takes no lists, one by one.

    failures_allowed: after this many unanswered texts the rest is not asked: no comparison can come of it.
    on_progress: called with the number of texts that are done.

    Returns a class id for each text, None where there is none, and how often each cause of failure came up.
    """
    predictions: list[int | None] = [None] * len(texts)
    causes: Counter[str] = Counter()
    done, lock, takes_lists = 0, threading.Lock(), threading.Event()
    takes_lists.set()

    def ask(start: int) -> None:
        nonlocal done
        batch = list(texts[start : start + BATCH_SIZE])
        if causes.total() > failures_allowed:
            answers: list[int | str] = ["not asked, after too many failures"] * len(batch)
        else:
            answers = _ask_batch(session, endpoint, batch, label2id, timeout, takes_lists, failures_allowed)
        with lock:
            for offset, answer in enumerate(answers):
                if isinstance(answer, str):
                    causes[answer] += 1
                else:
                    predictions[start + offset] = answer
            done += len(batch)
            on_progress(done)

    with ThreadPoolExecutor(REQUESTS_AT_A_TIME) as pool:
        list(pool.map(ask, range(0, len(texts), BATCH_SIZE)))
    return predictions, dict(causes.most_common())


def _ask_batch(
    session: requests.Session,
    endpoint: str,
    batch: list[str],
    label2id: Mapping[str, int],
    timeout: tuple[float, float],
    takes_lists: threading.Event,
    failures_allowed: int,
) -> list[int | str]:
    """A class id or the cause of failure for each text."""
    if takes_lists.is_set():
        try:
            return _predictions(_post(session, endpoint, batch, timeout), len(batch), label2id)
        except requests.RequestException as error:
            return [_cause(error)] * len(batch)
        except _RefusedError as error:
            logger.info("The API takes no lists (%s): asking one by one", error)
            takes_lists.clear()
    answers: list[int | str] = []
    for text in batch:
        failed = [answer for answer in answers if isinstance(answer, str)]
        if len(failed) > failures_allowed or len(failed) == len(answers) >= 3:
            answers.append(failed[-1])  # three in a row of one batch: the rest would fail alike
            continue
        try:
            answers += _predictions([_post(session, endpoint, text, timeout)], 1, label2id)
        except requests.RequestException as error:
            answers.append(_cause(error))
        except _RefusedError as error:
            answers.append(str(error))
    return answers


def _post(
    session: requests.Session, endpoint: str, text: str | list[str], timeout: tuple[float, float]
) -> Any:
    response = session.post(endpoint, json={"text": text}, timeout=timeout)
    if not response.ok:
        raise _RefusedError(f"status {response.status_code}")
    try:
        return response.json()
    except (json.JSONDecodeError, requests.JSONDecodeError):
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        raise _RefusedError(f"no JSON but {kind}") from None


def _predictions(answers: Any, expected: int, label2id: Mapping[str, int]) -> list[int | str]:
    if not isinstance(answers, list) or len(answers) != expected:
        raise _RefusedError("JSON of another shape")
    labels = [answer.get("label") if isinstance(answer, dict) else None for answer in answers]
    if not any(isinstance(label, str) for label in labels):
        raise _RefusedError("JSON without a label")
    return [
        label2id[label] if isinstance(label, str) and label in label2id else "unknown label"
        for label in labels
    ]


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
