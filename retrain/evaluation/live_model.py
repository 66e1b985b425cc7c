"""Asks the live inference API for predictions. Knows the API's JSON, not which model is behind it."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from retrain.errors import ComparisonError
from retrain.records import Answer, Served, SpaceState, Version

BATCH_SIZE = 8  # small: if the API computes one request at a time, four of these wait for each other
REQUESTS_AT_A_TIME = 4
TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte of the answer
LONGEST_RETRY_AFTER = 60  # seconds
LONGEST_NAME = 100  # characters kept of the version that the API reports
LOADING = 503  # the API's status while it has no model yet
REFUSALS = (400, 413, 415, 422)  # how an API says that it does not accept such a body
SECONDS_BETWEEN_LOOKS = 1.0
# How far a text's confidence may differ alone and in a batch: padding and threads change the last digits.
SAME_CONFIDENCE = 0.02

logger = logging.getLogger(__name__)


class _RefusedError(Exception):
    """The API answered, but not with predictions. `by_kind`: it would refuse any other list too."""

    def __init__(self, cause: str, *, by_kind: bool = False) -> None:
        super().__init__(cause)
        self.by_kind = by_kind


class LiveModel:
    """The model behind an API: POST {"text": …} → {"label", "confidence", "scores"}, or lists of both.

    endpoint: the URL that predictions are posted to; api_token: sent as a bearer token; redact: masks
    secrets in what the API says of itself; timeout: seconds to connect, and without a byte of the answer.
    """

    def __init__(
        self,
        endpoint: str,
        label2id: Mapping[str, int],
        api_token: SecretStr | None = None,
        redact: Callable[[str], str] = str,
        timeout: tuple[float, float] = TIMEOUT,
    ) -> None:
        self.endpoint, self.label2id, self.redact, self.timeout = endpoint, label2id, redact, timeout
        self.session = requests.Session()
        retry = Retry(
            total=3,
            read=0,  # a list without an answer is sent again, text by text
            backoff_factor=0.5,
            backoff_jitter=0.5,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=None,  # predicting changes nothing, so a POST may be repeated
            raise_on_status=False,
            retry_after_max=LONGEST_RETRY_AFTER,
        )
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=REQUESTS_AT_A_TIME))
        self.session.headers["Accept"] = "application/json"
        self.session.headers["Cache-Control"] = "no-store"  # test rows are no traffic that people review
        if api_token:
            self.session.headers["Authorization"] = f"Bearer {api_token.get_secret_value()}"
        self._takes_lists = threading.Event()
        self._takes_lists.set()

    def served(self) -> Served:
        """What the API says of itself (`GET /`): nothing if it fails."""
        try:
            about = self._look().json()
            revision, tag = about.get("model_revision"), about.get("model_version")
            waiting_for = about.get("reason") if about.get("status") == "waiting" else None
        except (requests.RequestException, ValueError, AttributeError, RecursionError):
            return Served()
        version = Version(tag and self._clean(tag), self._clean(revision)) if revision else None
        return Served(version, waiting_for and self._clean(waiting_for))

    def wake(self, state: Callable[[], SpaceState], patience_minutes: float) -> None:
        """Ask a Space that sleeps, starts or loads its model, until it is ready or time is up.

        Raises:
            ComparisonError: it does not run, and will not before somebody does something about it.
        """
        deadline = time.monotonic() + patience_minutes * 60
        while time.monotonic() < deadline:
            now, status = state(), self._status()  # which is a request, too
            if now.remedy and not 200 <= status < 300:
                raise ComparisonError(
                    f"The inference Space is {now}, so the live model can't be compared with. {now.remedy} "
                    "Nothing was published."
                )
            if not now.coming and status != LOADING:
                return
            logger.info("The inference Space is %s and not ready: waiting for it", now)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _status(self) -> int:
        """The API's status; 0 without an answer."""
        try:
            return self._look().status_code
        except requests.RequestException:
            return 0

    def _look(self) -> requests.Response:
        return self._request("GET", urljoin(self.endpoint, "/"))

    def _request(self, method: str, url: str, **content: Any) -> requests.Response:
        """Send a request that follows no redirect: texts and the token go nowhere but to API_ENDPOINT."""
        try:
            return self.session.request(method, url, timeout=self.timeout, allow_redirects=False, **content)
        except requests.RequestException:
            raise
        except ValueError as error:  # a redirect to what is no address
            raise requests.RequestException("a malformed answer") from error

    def _clean(self, said: object) -> str:
        """What the API says, fit for a log and a page: bounded, masked, without control characters."""
        return self.redact("".join(filter(str.isprintable, str(said)))[:LONGEST_NAME])

    def ask_one_version(
        self, texts: Sequence[str], *, failures_allowed: int, on_progress: Callable[[int], None]
    ) -> tuple[list[Answer], Version | None]:
        """Like `ask`; returns the answers and the one version that gave them all, if the API reports it.

        If the version changes meanwhile, the answers are discarded and everything is asked once more.

        Raises:
            ComparisonError: it changed again.
        """
        for _ in range(2):
            before = self.served().version
            answers = self.ask(texts, failures_allowed=failures_allowed, on_progress=on_progress)
            after = self.served().version
            if before == after:
                return answers, before
            logger.warning("The API changed from %s to %s while it was asked: once more", before, after)
        raise ComparisonError(
            f"The API at {self.endpoint} changed its version while it was asked, twice: its answers are not "
            "those of one model. Nothing was published. Restart when its Space has settled."
        )

    def ask(
        self,
        texts: Sequence[str],
        *,
        failures_allowed: int,
        on_progress: Callable[[int], None] = lambda answered: None,
    ) -> list[Answer]:
        """Ask about every text, in several batches at a time; one by one if the API accepts no lists.

        failures_allowed: if more texts fail, the rest is not asked, because no comparison can come of it.
        on_progress: called with the number of texts done so far.
        """
        if not texts:
            return []
        self._takes_lists.set()
        answers: list[Answer] = [Answer(error="not asked, after too many failures")] * len(texts)
        done, failed, lock = 0, 0, threading.Lock()

        def take(start: int, given: list[Answer]) -> None:
            nonlocal done, failed
            with lock:
                answers[start : start + len(given)] = given
                failed += sum(answer.label is None for answer in given)
                done += len(given)
                on_progress(done)

        def ask(start: int) -> None:
            if failed <= failures_allowed:
                take(start, self._ask_batch(texts[start : start + BATCH_SIZE], failures_allowed))

        first = texts[:BATCH_SIZE]
        given = self._ask_batch(first, failures_allowed)
        if self._takes_lists.is_set() and not self._answers_alike_alone(first, given):
            logger.warning("The API answers a list otherwise than single texts: asking one by one")
            self._takes_lists.clear()
            given = self._ask_batch(first, failures_allowed)
        take(0, given)
        with ThreadPoolExecutor(REQUESTS_AT_A_TIME) as pool:
            list(pool.map(ask, range(BATCH_SIZE, len(texts), BATCH_SIZE)))
        return answers

    def _answers_alike_alone(self, texts: Sequence[str], in_list: Sequence[Answer]) -> bool:
        """Whether some texts get the same answer by themselves; if not, the list has lost its order."""
        for i in sorted({0, len(texts) // 2, len(texts) - 1}):
            if in_list[i].label is None:
                continue
            (alone,) = self._ask_batch(texts[i : i + 1], 0, as_list=False)
            if alone.label is None:
                continue
            drift = abs((in_list[i].confidence or 0) - (alone.confidence or 0))
            if in_list[i].label != alone.label or drift > SAME_CONFIDENCE:
                return False
        return True

    def _ask_batch(
        self, texts: Sequence[str], failures_allowed: int, *, as_list: bool = True
    ) -> list[Answer]:
        if as_list and self._takes_lists.is_set():
            try:
                return self._post(list(texts))
            except requests.RequestException as error:
                logger.info("The API did not answer a list (%s): asking one by one", _cause(error))
            except _RefusedError as error:
                logger.info("The API refused a list (%s): asking one by one", error)
                if error.by_kind:
                    self._takes_lists.clear()
        answers: list[Answer] = []
        for text in texts:
            failed = [answer for answer in answers if answer.label is None]
            if len(failed) > failures_allowed or len(failed) == len(answers) >= 3:
                answers.append(failed[-1])  # the first three of a batch failed: the rest would too
                continue
            try:
                answers += self._post(text)
            except requests.RequestException as error:
                lost = Answer(error=_cause(error))
                return answers + [lost] * (len(texts) - len(answers))  # the others would fail too
            except _RefusedError as error:
                answers.append(Answer(error=str(error)))
        return answers

    def _post(self, text: str | list[str]) -> list[Answer]:
        began = time.monotonic()
        response = self._request("POST", self.endpoint, json={"text": text})
        if response.is_redirect:
            target = urlsplit(urljoin(self.endpoint, response.headers["Location"]))
            where = self._clean(f"{target.scheme}://{target.netloc}{target.path}")
            raise _RefusedError(f"redirected to {where}: set API_ENDPOINT to where it answers", by_kind=True)
        if not response.ok:
            raise _RefusedError(f"status {response.status_code}", by_kind=response.status_code in REFUSALS)
        try:
            body = response.json()
        except (ValueError, RecursionError):
            kind = self._clean(response.headers.get("Content-Type", "no content type").split(";")[0])
            raise _RefusedError(f"no JSON but {kind}") from None
        answers, expected = (body, len(text)) if isinstance(text, list) else ([body], 1)
        if not isinstance(answers, list) or len(answers) != expected:
            raise _RefusedError("JSON of another shape", by_kind=True)
        if not any(isinstance(answer, dict) and isinstance(answer.get("label"), str) for answer in answers):
            raise _RefusedError("JSON without a label", by_kind=True)
        seconds = (time.monotonic() - began) / expected
        return [self._read(answer, seconds) for answer in answers]

    def _read(self, answer: Any, seconds: float) -> Answer:
        label = answer.get("label") if isinstance(answer, dict) else None
        if not isinstance(label, str) or label not in self.label2id:
            return Answer(error="unknown label")
        confidence = answer.get("confidence")
        if confidence is not None and not _is_share(confidence):
            return Answer(error="confidence outside 0 to 1")
        scores = answer.get("scores")
        every_class = isinstance(scores, dict) and all(_is_share(scores.get(name)) for name in self.label2id)
        in_id_order = sorted(self.label2id, key=self.label2id.__getitem__)
        return Answer(
            self.label2id[label],
            confidence and float(confidence),
            seconds,
            tuple(float(scores[name]) for name in in_id_order) if every_class else None,
        )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
