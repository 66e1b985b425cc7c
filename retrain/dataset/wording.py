"""How rows and names are shown in a message: a limited number of them, and never a citizen's text."""

from collections.abc import Iterable, Sequence
from typing import Any

ROWS_SHOWN, NAMES_SHOWN = 5, 10


def shown(value: Any) -> str:
    """A label or name as it is shown; one that could be a citizen's text is not."""
    text = str(value)
    return repr(value) if len(text) <= 40 and len(text.split()) <= 4 else f"a text of {len(text)} characters"


def names_shown(names: Iterable[str]) -> str:
    """The names that somebody gave splits, columns or labels: quoted, and a limited number of them."""
    quoted = [shown(name) for name in names]
    return ", ".join(quoted[:NAMES_SHOWN]) + (", …" if len(quoted) > NAMES_SHOWN else "")


def rows_shown(rows: Sequence[int]) -> str:
    """How many rows, and the numbers of the first, as the data set's viewer counts them."""
    first = ", ".join(map(str, rows[:ROWS_SHOWN]))
    more = ", …" if len(rows) > ROWS_SHOWN else ""
    return f"{len(rows)} row{'s' if len(rows) > 1 else ''} (number {first}{more}, from 0)"
