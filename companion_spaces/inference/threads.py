"""How many threads the heavy process may use: torch would take one for each core of the host.

In a container with a share of a larger machine these wait for each other most of the time. The threads of
OpenMP also spin while they wait, and so take the time of whatever else runs.
"""

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
THREADS, WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"


def thread_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of OpenMP for a process to be started; what is set already stays."""
    return {
        THREADS: environ.get(THREADS) or str(usable_cores(environ)),
        WAITING: environ.get(WAITING) or "PASSIVE",
    }


def usable_cores(environ: Mapping[str, str], cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """The smallest of affinity, the cgroup's quota, and what the platform says in CPU_CORES; at least 1."""
    limits = [float(len(os.sched_getaffinity(0)))]
    limits += [quota for quota in _quotas(cgroups, membership) if quota > 0]
    with contextlib.suppress(ValueError):  # it is not set, or says no number
        limits.append(float(environ.get("CPU_CORES", "")))
    return max(1, math.ceil(min(limit for limit in limits if limit > 0)))


def _quotas(cgroups: Path, membership: Path) -> list[float]:
    """The cores that this process's cgroups, version 1 or 2, and those above them leave it."""
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        root = cgroups / "cpu" if "cpu" in controllers.split(",") else cgroups
        if controllers and root == cgroups:
            continue
        folders = [root / path.strip("/"), *(root / path.strip("/")).parents]
        for folder in folders[: folders.index(root) + 1]:
            found.append(_quota(folder))
    return [quota for quota in found if quota is not None]


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no limit is "max" or -1
        return None
