"""The modules of the inference Space, in this process."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.conftest import SOURCE

FOLDER = SOURCE / "companion_spaces" / "inference"


@pytest.fixture(scope="module")
def space_module() -> Iterator[Callable[[str], ModuleType]]:
    """Import one by its name: the Space has no package, its modules are found beside app.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module
    for file in FOLDER.glob("*.py"):
        sys.modules.pop(file.stem, None)
