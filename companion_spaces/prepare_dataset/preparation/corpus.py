"""The next version of a data set, as a pure function of the one before and of what came in since.

Every group of nearly equal texts is in one split for good. Which one is drawn by a keyed hash of the group,
before anybody looks at what a model answered: eval and test are a sample of all complaints.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from preparation.grouping import Groups
from preparation.previous import PreviousRow
from retrain.dataset.layout import SPLITS

# Of the complaints that are drawn by chance, so many are for eval, and as many for test.
HELD_OUT = 0.25
NEVER = datetime.min.replace(tzinfo=UTC)
CORRECTION, AUDIT, ADOPTED = "correction", "audit", "adopted"


@dataclass(frozen=True, slots=True)
class Labelled:
    """An entry of the source with a label of this label set: place of its text, label id, time, reviewer."""

    place: int
    label: int
    at: datetime | None
    is_correction: bool
    reviewer: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the new version; source: adopted, correction or audit; probability: of an audit row's draw."""

    place: int
    label: int
    split: str
    group: str
    source: str
    probability: float | None = None


@dataclass(frozen=True)
class Texts:
    """What is known of texts by their places: a hash that equal ones share, and the root of their group."""

    hashes: Sequence[bytes]
    roots: Sequence[int]


@dataclass(frozen=True)
class Draw:
    """How splits are drawn: the key of the hash, and the share of all complaints that is taken."""

    key: bytes
    probability: float

    def split(self, group: str) -> str | None:
        """The split of a group that is drawn; None for all others. A function of key and name only."""
        digest = hashlib.blake2b(group.encode(), key=self.key[:64], digest_size=8).digest()
        place = int.from_bytes(digest, "big") / 2**64
        if place >= self.probability:
            return None
        share = place / self.probability
        return "test" if share < HELD_OUT else "eval" if share < 2 * HELD_OUT else "train"


@dataclass
class Draft:
    """A version that nobody has published yet, and how it differs from the one before.

    withdrawn: rows that left, by reason; contradictions: places of texts that were corrected to several
    labels; corrected_texts: how many texts have a correction.
    """

    rows: list[Row] = field(default_factory=list)
    added: Counter[str] = field(default_factory=Counter)
    corrected: int = 0
    withdrawn: Counter[str] = field(default_factory=Counter)
    contradictions: list[int] = field(default_factory=list)
    corrected_texts: int = 0
    groups: int = 0

    @property
    def changes(self) -> int:
        """Rows that are new or have another label."""
        return self.added.total() + self.corrected


def assemble(
    previous: Iterable[tuple[int, PreviousRow]],
    entries: Sequence[Labelled],
    texts: Texts,
    draw: Draw,
    forgotten: frozenset[bytes] = frozenset(),
) -> Draft:
    """Previous rows, corrections and the drawn complaints as one version.

    previous: with the places of their texts; forgotten: the hashes of texts that leave.
    """
    draft, kept = Draft(), list(previous)
    corrections = _by_text((each for each in entries if each.is_correction), texts)
    complaints = _by_text((each for each in entries if not each.is_correction), texts)
    corrected = {text: each[-1].label for text, each in corrections.items()}
    draft.corrected_texts = len(corrections)
    draft.contradictions = sorted(
        each[0].place for each in corrections.values() if len({entry.label for entry in each}) > 1
    )
    groups = _Groups(kept, texts)
    present: set[bytes] = set()
    for place, row in kept:
        text = texts.hashes[place]
        group, split = groups.of(place)
        if text in forgotten:
            draft.withdrawn["forgotten"] += 1
            continue
        if SPLITS.index(row.split) < SPLITS.index(split):
            draft.withdrawn[f"nearly equal to a text of {split}"] += 1
            continue
        label = corrected.get(text, row.label)
        draft.corrected += label != row.label
        present.add(text)
        draft.rows.append(Row(place, label, row.split, group, row.source or ADOPTED, row.probability))
    # By text, so that the order in which a source gives them changes nothing.
    for text in sorted((corrections.keys() | complaints.keys()) - present - forgotten):
        entry = (corrections.get(text) or complaints[text])[-1]
        group, split = groups.of(entry.place)
        # The draw is of complaints: a correction without its complaint is there because a model was wrong.
        drawn = draw.split(group) if text in complaints else None
        if text not in corrections and drawn is None:
            continue
        split = split or drawn or "train"
        groups.settle(entry.place, split)
        source = CORRECTION if text in corrections else AUDIT
        probability = draw.probability if drawn else None
        draft.rows.append(Row(entry.place, entry.label, split, group, source, probability))
        draft.added[split] += 1
    draft.rows.sort(key=lambda row: (SPLITS.index(row.split), texts.hashes[row.place], row.label))
    draft.groups = len({row.group for row in draft.rows})
    return draft


def _by_text(entries: Iterable[Labelled], texts: Texts) -> dict[bytes, list[Labelled]]:
    """Entries by the hash of their text, the latest last."""
    found: dict[bytes, list[Labelled]] = defaultdict(list)
    for entry in entries:
        found[texts.hashes[entry.place]].append(entry)
    for each in found.values():
        each.sort(key=lambda entry: (entry.at or NEVER, entry.label))
    return found


class _Groups:
    """The name and split of each group of texts; those of the version before stay what they were."""

    def __init__(self, kept: Sequence[tuple[int, PreviousRow]], texts: Texts) -> None:
        self._roots = _joined_by_name(kept, texts.roots)
        self._names: dict[int, str] = {}
        self._splits: dict[int, str] = {}
        self._lowest: dict[int, bytes] = {}
        for place, root in enumerate(self._roots):
            text = texts.hashes[place]
            self._lowest[root] = min(text, self._lowest.get(root, text))
        # Of several splits and names, those of the evaluation side; of several names there, the lowest.
        for place, row in sorted(kept, key=lambda each: (-SPLITS.index(each[1].split), each[1].group or "")):
            self.settle(place, row.split)
            if row.group:
                self._names.setdefault(self._roots[place], row.group)

    def of(self, place: int) -> tuple[str, str]:
        """The name of the text's group, and its split; "" if no row of it has one yet."""
        root = self._roots[place]
        name = self._names.get(root) or self._lowest[root].hex()[:16]
        return name, self._splits.get(root, "")

    def settle(self, place: int, split: str) -> None:
        self._splits.setdefault(self._roots[place], split)


def _joined_by_name(kept: Sequence[tuple[int, PreviousRow]], roots: Sequence[int]) -> list[int]:
    """The roots, with those joined that the version before had in one group."""
    groups = Groups(len(roots))
    for place, root in enumerate(roots):
        groups.join(place, root)
    first: dict[str, int] = {}
    for place, row in kept:
        if row.group:
            groups.join(first.setdefault(row.group, place), place)
    return [groups.root(root) for root in roots]


def label_counts(rows: Iterable[Row | PreviousRow], label2id: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Rows by split and label."""
    counts = Counter((row.split, row.label) for row in rows)
    return {split: {name: counts[split, i] for name, i in label2id.items()} for split in SPLITS}
