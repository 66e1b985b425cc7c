"""The rehearsal is played as the documents say: their variables, and what is shown at its end."""

import json
import re
from collections.abc import Callable

from tests.documents.commands import runs
from tests.documents.conftest import WARDS, Clone
from tests.documents.reading import tokens_of


@runs(r"([A-Z]+=[a-z.]+ )*make rehearsal|python -m rehearsal")
def test_the_rehearsal_ends_with_what_the_readme_shows(
    clone: Clone, commands: list[str], placeholders: Callable[[str], str]
) -> None:
    """All that may stand before it, at once; and settings with which a tiny model is soon through."""
    chosen = dict(re.findall(r"(\w+)=(\S+)", placeholders(" ".join(commands))))
    assert chosen.keys() == {"LABEL", "DATA", "CHECKPOINT"}
    told = clone.type("make rehearsal", **chosen, COMPARE_WITH="hub", NUM_TRAIN_EPOCHS="1")
    shown = next(token.content for token, _ in tokens_of("README.md") if token.info == "text")
    names = re.findall(r"(?m)^│ (\w.*?) +│", shown) + re.findall(r"(?m)^\w.*?(?=: rehearsal_run)", shown)
    assert len(names) > 8
    assert not [name for name in names if name not in told], told
    assert (clone.folder / re.search(r"rehearsal_run/\S+/report\.html", told)[0]).is_file()


@runs(r"LABEL=\w+ LABELS=.* make rehearsal")
def test_the_rehearsal_trains_on_a_label_set_of_ones_own(
    clone: Clone, commands: list[str], placeholders: Callable[[str], str]
) -> None:
    told = clone.type(*map(placeholders, commands), COMPARE_WITH="hub", NUM_TRAIN_EPOCHS="1")
    record = (clone.folder / re.search(r"rehearsal_run/\S+/run\.json", told)[0]).read_text(encoding="utf-8")
    assert list(json.loads(record)["test_scores"]["per_class"]) == list(WARDS.values())
