"""Checksums of a checkpoint's files: whether it was saved whole, and is still as it was saved."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

CHECKSUMS = "checksums.json"


def checksums(checkpoint: Path) -> dict[str, str]:
    """A checksum of each file, by its path below the checkpoint."""
    files = [file for file in sorted(checkpoint.rglob("*")) if file.is_file() and file.name != CHECKSUMS]
    return {file.relative_to(checkpoint).as_posix(): checksum(file) for file in files}


def checksum(file: Path) -> str:
    """BLAKE2b of the content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").hexdigest()


def record_checksums(checkpoint: Path, found: Mapping[str, str]) -> None:
    """Write the last file of a checkpoint, at once: its presence means that all others are there."""
    partial = checkpoint.with_name(f".{checkpoint.name}.{CHECKSUMS}")
    partial.write_text(json.dumps(found, indent=1), encoding="utf-8")
    partial.replace(checkpoint / CHECKSUMS)


def verified_checksums(checkpoint: Path) -> dict[str, str]:
    """The checksums that were recorded at saving.

    Raises:
        ValueError: a file is missing, is not as it was saved, or was added since; or they can't be read.
    """
    recorded, found = json.loads((checkpoint / CHECKSUMS).read_bytes()), checksums(checkpoint)
    if not isinstance(recorded, dict):
        raise ValueError(f"{CHECKSUMS} holds no checksums")
    names = sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name))
    if names:
        raise ValueError(f"not as it was saved: {', '.join(names[:5])}")
    return found
