"""Texts made fit for a data set: cleaned, masked, hashed, and with the signature that finds their like.

A million of them fit into no small memory, so that they are kept in files; what is in memory is eight bytes
a text and a few columns beside it.
"""

import hashlib
import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rensa import RMinHash

from common.cleaning import clean
from common.masking import mask
from retrain.dataset.texts import normalise

PERMUTATIONS = 64
GRAMS = (4, 5)  # characters
LONGEST = 10_000  # characters that the inference Space takes
BATCH = 2_000
# Below so many texts, a process of its own takes longer to start than it saves.
WORTH_PROCESSES = 20_000
Raw = str | bytes | None


@dataclass(frozen=True)
class Prepared:
    """A batch: the texts (None where one was left out), their hashes (16 bytes) and signatures.

    signatures: (rows, PERMUTATIONS) uint32; masked: how many of which kind; left_out: how many for what.
    """

    texts: list[str | None]
    hashes: list[bytes]
    signatures: NDArray[np.uint32]
    masked: Counter[str]
    left_out: Counter[str]


def prepare(raw: Sequence[Raw], key: bytes) -> Prepared:
    """Clean and mask texts. What can't be used is left out, with its reason; nothing of it is kept."""
    texts: list[str | None] = []
    hashes, masked, left_out = [], Counter[str](), Counter[str]()
    signatures = np.zeros((len(raw), PERMUTATIONS), np.uint32)
    for row, given in enumerate(raw):
        text, why = _usable(given)
        if text:
            found = mask(text)
            text = found.text
            masked.update(found.counts)
            signatures[row] = signature(text)
        else:
            left_out[why] += 1
        texts.append(text or None)
        hashes.append(hash_of(text, key))
    return Prepared(texts, hashes, signatures, masked, left_out)


def _usable(given: Raw) -> tuple[str, str]:
    """The clean text; "" with the reason if there is none."""
    if isinstance(given, bytes):  # from a database in SQL_ASCII
        try:
            given = given.decode()
        except UnicodeDecodeError:
            return "", "not UTF-8"
    if given is None:
        return "", "no text"
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            return "", "not UTF-8"
    text = clean(given)
    if not text:
        return "", "empty once it is cleaned"
    return (text, "") if len(text) <= LONGEST else ("", f"longer than {LONGEST:,} characters")


def hash_of(text: str, key: bytes) -> bytes:
    """Sixteen bytes that equal texts share; without the key nobody can guess the text of one."""
    return hashlib.blake2b(normalise(text).encode(), key=key[:64], digest_size=16).digest()


def grams(text: str) -> set[str]:
    """The runs of four and five characters in a text, as it is compared; a shorter text is one."""
    text = normalise(text)
    found = {text[i : i + size] for size in GRAMS for i in range(len(text) - size + 1)}
    return found or {text}


def signature(text: str) -> NDArray[np.uint32]:
    """The MinHash of a text: the share of places at which two agree estimates their Jaccard similarity."""
    hashed = RMinHash(num_perm=PERMUTATIONS, seed=42)
    hashed.update(list(grams(text)))
    return np.array(hashed.digest(), np.uint32)


@dataclass
class TextStore:
    """The prepared texts of all sources, one after another, on disk. A context manager.

    A text that was left out has no place. hashes: 16 bytes each.
    """

    folder: Path
    key: bytes
    processes: int = 1
    hashes: list[bytes] = field(default_factory=list)
    masked: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._texts = pa.OSFile(str(self.folder / "texts.arrow"), "wb")
        self._writer = pa.ipc.new_file(self._texts, pa.schema([("text", pa.string())]))
        self._signatures = (self.folder / "signatures.bin").open("wb")
        self._pool: ProcessPoolExecutor | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._close()

    def add(self, items: Iterable[tuple[Raw, Any]]) -> Iterator[tuple[int, Any]]:
        """Prepare texts and keep them; yields the place of each that is kept, and what came with it."""
        waiting: deque[tuple[Prepared | Future[Prepared], list[Any]]] = deque()
        taken = 0
        items = iter(items)
        while batch := list(islice(items, BATCH)):
            raw, others = [each[0] for each in batch], [each[1] for each in batch]
            taken += len(batch)
            if self.processes > 1 and taken > WORTH_PROCESSES and not self._pool:
                start = multiprocessing.get_context("forkserver")
                self._pool = ProcessPoolExecutor(self.processes, start)
            done = self._pool.submit(prepare, raw, self.key) if self._pool else prepare(raw, self.key)
            waiting.append((done, others))
            while len(waiting) > 2 * self.processes:
                yield from self._keep(*waiting.popleft())
        while waiting:
            yield from self._keep(*waiting.popleft())

    def _keep(self, done: "Prepared | Future[Prepared]", others: list[Any]) -> Iterator[tuple[int, Any]]:
        prepared = done if isinstance(done, Prepared) else done.result()
        kept = [row for row, text in enumerate(prepared.texts) if text is not None]
        self._writer.write_batch(
            pa.record_batch([pa.array([prepared.texts[row] for row in kept], pa.string())], names=["text"])
        )
        self._signatures.write(prepared.signatures[kept].tobytes())
        self.masked += prepared.masked
        self.left_out += prepared.left_out
        for row in kept:
            self.hashes.append(prepared.hashes[row])
            yield len(self.hashes) - 1, others[row]

    def _close(self) -> None:
        if not self._texts.closed:
            self._writer.close()
            self._texts.close()
            self._signatures.close()

    def read(self) -> "StoredTexts":
        """All texts; nothing can be added any more."""
        self._close()
        table = pa.ipc.open_file(pa.memory_map(str(self.folder / "texts.arrow"))).read_all()
        file, shape = self.folder / "signatures.bin", (len(self.hashes), PERMUTATIONS)
        signatures = np.memmap(file, np.uint32, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint32)
        return StoredTexts(table["text"], signatures, self.hashes)


@dataclass(frozen=True)
class StoredTexts:
    """Texts and signatures as they lie on disk, and the hashes, by their places."""

    texts: pa.ChunkedArray
    signatures: NDArray[np.uint32]
    hashes: list[bytes]

    def text(self, place: int) -> str:
        return str(self.texts[place])

    def take(self, places: Sequence[int]) -> pa.ChunkedArray:
        """The texts at these places, as a column."""
        return self.texts.take(pa.array(places, pa.int64()))
