"""What tests of Spaces share: the modules of the inference Space in this process, and a PostgreSQL."""

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from rehearsal.city_database import Cluster
from tests.conftest import SOURCE

FOLDER = SOURCE / "companion_spaces" / "inference"
_names = itertools.count()


@pytest.fixture(scope="module")
def space_module() -> Iterator[Callable[[str], ModuleType]]:
    """Import one by its name: the Space has no package, its modules are found beside app.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module
    for file in FOLDER.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server that all tests share that leave it running."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The URL of a database of the test's own, with the city's tables."""
    return cluster.create(f"city_{next(_names)}")
