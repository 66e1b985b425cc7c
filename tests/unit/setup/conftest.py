"""An env file as an operator writes it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NEEDED

EnvFile = Callable[..., Path]


@pytest.fixture
def env_file(tmp_path: Path) -> EnvFile:
    """Write a file with what every installation needs and some more; None takes a setting out."""

    def write(**settings: str | None) -> Path:
        file = tmp_path / ".env"
        lines = [f"{name}={value}" for name, value in (NEEDED | settings).items() if value is not None]
        file.write_text("\n".join(lines), encoding="utf-8")
        return file

    return write
