"""How many threads the heavy process gets."""

import os
from pathlib import Path

import pytest

from retrain.threads import thread_settings, usable_cores

AFFINITY = len(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(AFFINITY < 2, reason="one core leaves nothing to choose")


def cgroup(folder: Path, line: str, files: dict[str, str]) -> dict[str, Path]:
    """A tree like /sys/fs/cgroup with these files, and a file like /proc/self/cgroup with this line."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "self").write_text(f"{line}\n")
    return {"cgroups": folder, "membership": folder / "self"}


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/", {"cpu.max": "100000 100000\n"}),
        ("0::/", {"cpu.max": "50000 100000\n"}),
        ("0::/a/b", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "max 100000\n"}),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        ("4:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "70000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}),
    ],
    ids=["one core", "half a core", "of the cgroup above", "version 1", "version 1, in a group"],
)
def test_a_quota_of_one_core_or_less_is_one_thread(tmp_path: Path, line: str, files: dict[str, str]) -> None:
    assert usable_cores({}, **cgroup(tmp_path, line, files)) == 1


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/", {"cpu.max": "max 100000\n"}),
        ("0::/", {}),
        ("0::/", {"cpu.max": "nonsense"}),
        ("0::/", {"cpu.max": "100000 0\n"}),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        ("7:memory:/x", {"x/cpu.max": "100000 100000\n"}),
        ("0::/", {"cpu.max": f"{(AFFINITY + 3) * 100000} 100000\n"}),
    ],
    ids=[
        "max",
        "no cpu.max",
        "nonsense",
        "no period",
        "version 1, none",
        "another controller",
        "a larger one",
    ],
)
def test_without_a_smaller_quota_there_are_as_many_as_cores(
    tmp_path: Path, line: str, files: dict[str, str]
) -> None:
    assert usable_cores({}, **cgroup(tmp_path, line, files)) == AFFINITY


def test_without_cgroups_there_are_as_many_as_cores(tmp_path: Path) -> None:
    assert usable_cores({}, tmp_path, tmp_path / "none") == AFFINITY


@pytest.mark.parametrize(
    ("said", "threads"),
    [("1", 1), ("0.5", 1), ("999", AFFINITY), ("", AFFINITY), ("two", AFFINITY), ("0", AFFINITY)],
)
def test_the_platform_may_say_that_there_are_fewer(tmp_path: Path, said: str, threads: int) -> None:
    assert usable_cores({"CPU_CORES": said}, tmp_path, tmp_path / "none") == threads


def test_what_is_set_already_wins() -> None:
    given = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}
    assert thread_settings(given | {"CPU_CORES": "1"}) == given


def test_threads_that_wait_do_not_spin() -> None:
    assert thread_settings({"CPU_CORES": "1"}) == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
