"""Sources without a database: a file of complaints, or an export over HTTPS that is read page by page."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from preparation.entries import Entry, Since, SourceError, check_columns, entries_of
from preparation.settings import PreparationSettings

ROWS_READ = 5_000
TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte
RETRIES = Retry(3, status_forcelist=(429, 500, 502, 503, 504), backoff_factor=0.5, raise_on_status=False)
LOCAL = ("127.0.0.1", "localhost", "::1")


class Export:
    """Rows from a file or a URL. Each may hold a correction beside the complaint."""

    def __init__(self, settings: PreparationSettings) -> None:
        assert settings.source is not None
        self._settings, self._source = settings, settings.source

    def entries(self, since: Since) -> Iterator[Entry]:
        """See Source."""
        records = self._records(since)
        first = next(records, None)
        if first is None:
            return
        check_columns(list(first), self._settings)
        for record in chain((first,), records):
            yield from entries_of(record, self._settings, since)

    def erased(self) -> Iterator[str | bytes | None]:
        """See Source; FORGET is the only way here."""
        return iter(())

    def _records(self, since: Since) -> Iterator[Mapping[str, Any]]:
        if urlsplit(self._source).scheme in ("http", "https"):
            return self._pages(since)
        return _read_file(Path(self._source))

    def _pages(self, since: Since) -> Iterator[Mapping[str, Any]]:
        """JSON lines; the next page is where the header Link says."""
        if urlsplit(self._source).scheme == "http" and urlsplit(self._source).hostname not in LOCAL:
            raise SourceError(
                f"SOURCE={self._source} is not encrypted, and complaints are personal. Use https."
            )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
        if token := self._settings.source_token:
            session.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        times = [time for time in (since.complaints, since.corrections) if time]
        asked = {"since": min(times).isoformat()} if len(times) == 2 else {}
        url: str | None = requests.Request("GET", self._source, params=asked).prepare().url
        origin, seen = urlsplit(self._source)[:2], set[str]()
        while url:
            if urlsplit(url)[:2] != origin or url in seen:  # the token is for this place, and for one round
                raise SourceError("The export at SOURCE names a next page elsewhere, or one that was read.")
            seen.add(url)
            try:
                with session.get(url, stream=True, timeout=TIMEOUT, allow_redirects=False) as page:
                    if page.status_code != 200:
                        said = f"The export at SOURCE answered {page.status_code}."
                        raise SourceError(
                            f"{said} Check its URL and SOURCE_TOKEN.", transient=page.status_code >= 500
                        )
                    yield from _json_lines(page.iter_lines())
                    url = page.links.get("next", {}).get("url")
                    url = requests.compat.urljoin(self._source, url) if url else None
            except requests.RequestException as error:
                raise SourceError(
                    f"The export at SOURCE could not be read ({type(error).__name__}). Restart later.",
                    transient=True,
                ) from error


def _read_file(file: Path) -> Iterator[Mapping[str, Any]]:
    kind = file.suffix.lower()
    if kind not in (".csv", ".jsonl", ".parquet"):
        raise SourceError(f"SOURCE={file} should be a .csv, .jsonl or .parquet file, or an https:// URL.")
    try:
        if kind == ".parquet":
            import pyarrow.parquet as pq  # heavy

            for batch in pq.ParquetFile(file).iter_batches(ROWS_READ):
                yield from batch.to_pylist()
        elif kind == ".jsonl":
            with file.open("rb") as lines:
                yield from _json_lines(lines)
        else:
            csv.field_size_limit(sys.maxsize)
            with file.open(encoding="utf-8-sig", newline="") as opened:
                yield from csv.DictReader(opened, restval="")
    except (OSError, ValueError, csv.Error) as error:  # Arrow's and Unicode's are among them
        said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise SourceError(f"SOURCE={file} can't be read ({said}). Text files should be in UTF-8.") from None


def _json_lines(lines: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise SourceError(f"Line {number} of the source is no JSON object. Correct the export.")
        yield record
