"""The folders of downloads: one that can't be written is found before anything is begun, by its variable."""

import os
import subprocess
from pathlib import Path

import pytest

from retrain.errors import DiskFullError, HubError
from retrain.hub.cache import check_cache


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    check_cache({"HF_DATASETS_CACHE": str(tmp_path / "sets")}, str(tmp_path / "a" / "home"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "home", "sets"]


@pytest.mark.parametrize("name", ["HF_HUB_CACHE", "HF_DATASETS_CACHE"])
def test_a_folder_of_its_own_that_can_not_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(HubError, match=rf"/proc/none \(.*\)\. Set {name} to a folder that can be written"):
        check_cache({name: "/proc/none"}, str(tmp_path))


def test_a_user_without_a_home_is_asked_for_hf_home() -> None:
    with pytest.raises(
        HubError, match=r"HOME is not set, and this user has no home\. Set HF_HOME to a folder"
    ):
        check_cache({}, "~/.cache/huggingface")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [("ro", HubError, "Read-only file system"), ("size=4k", DiskFullError, "The disk is full")],
)
def test_a_file_system_that_takes_nothing_is_told_apart_from_a_full_one(
    tmp_path: Path, options: str, error: type[Exception], said: str
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)], check=True)
    try:
        if options != "ro":
            (tmp_path / "full").write_bytes(b"0" * 4096)
        with pytest.raises(error, match=said):
            check_cache({}, str(tmp_path))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
