"""`python -m rehearsal.image_check IMAGE`: inspects a built image and runs the rehearsal with it.

Needs root, buildah to mount the image, and runc to run it as an engine would: as user 1000, without
capabilities or new privileges, on a root file system that is read-only except for the folder of runs, the
cache and /tmp.
"""

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrain.redaction import Redactor

from .__main__ import console, play
from .world import RETRAIN_SPACE, World, read_grievances

USER = 1000
RUNS = "/app/runs"  # the default RUN_DIR
TOOLS = {"gcc", "cc", "g++", "c++", "clang", "ld", "make", "git"}
PRIVATE = re.compile(r"\.env(\..*)?|\.netrc|\.git|\.pypirc|id_[a-z0-9]+|.*\.pem|token|credentials")
WITH_CREDENTIALS = re.compile(r"://[^\s/@]+@")
CHECKED_FOR_SECRETS = ("app", "etc", "home", "root", "run", "tmp")
OPTIONS = ["nosuid", "nodev", "noexec", "mode=1777"]
DEVICES = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": OPTIONS},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmp", "options": OPTIONS},
]


@dataclass
class Image:
    """A built image: its root folder, its configuration, and the history of its build."""

    root: Path
    config: dict[str, Any]
    history: str = ""
    containers: list[str] = field(default_factory=list)

    def container(self, folder: Path, variables: Mapping[str, str]) -> list[str]:
        """The command that runs the image; its writable folders are made in `folder`."""
        environment = dict(pair.split("=", 1) for pair in self.config["Env"])
        kept = {RUNS: folder / "runs", f"{environment['HOME']}/.cache": folder / "cache"}
        for source in kept.values():
            source.mkdir(exist_ok=True)
            os.chown(source, USER, USER)
        environment |= {name: value for name, value in variables.items() if name != "RUN_DIR"}
        bundle = Path(tempfile.mkdtemp(dir=folder))
        self.containers.append(bundle.name)
        process = {
            "args": self.config["Cmd"],
            "cwd": self.config["WorkingDir"],
            "env": [f"{name}={value}" for name, value in environment.items()],
            "user": {"uid": int(self.config["User"]), "gid": USER},
            "capabilities": {},
            "noNewPrivileges": True,
        }
        mounts = [
            {
                "destination": inside,
                "type": "bind",
                "source": str(outside),
                "options": ["bind", "nosuid", "nodev"],
            }
            for inside, outside in kept.items()
        ]
        specification = {
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": str(self.root), "readonly": True},
            "mounts": DEVICES + mounts,
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc")]},
        }
        (bundle / "config.json").write_text(json.dumps(specification))
        return ["runc", "run", "--bundle", str(bundle), bundle.name]


@contextlib.contextmanager
def mounted(name: str) -> Iterator[Image]:
    """An image in buildah's storage, mounted; its containers are removed at the end."""
    work = _output("buildah", "from", "--pull-never", name)
    about = json.loads(_output("buildah", "inspect", "--type", "image", name))["Docker"]
    image = Image(Path(_output("buildah", "mount", work)), about["config"], json.dumps(about["history"]))
    try:
        yield image
    finally:
        for container in image.containers:
            subprocess.run(["runc", "delete", "--force", container], check=False, capture_output=True)
        _output("buildah", "rm", work)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def faults_of(image: Image) -> Iterator[str]:
    """What should not be in the image, one line for each."""
    if image.config["User"] != str(USER):
        yield f"it runs as {image.config['User'] or 'root'}"
    if holds_secret(str(image.config)) or holds_secret(image.history):
        yield "a secret is in its configuration or history"
    home = next(pair.split("=", 1)[1] for pair in image.config["Env"] if pair.startswith("HOME="))
    for folder, folders, files in os.walk(image.root):
        for each in (Path(folder, name) for name in folders + files):
            about, name = each.lstat(), "/" + each.relative_to(image.root).as_posix()
            is_file = stat.S_ISREG(about.st_mode)
            checked = name.split("/")[1] in CHECKED_FOR_SECRETS and "/ssl/" not in name
            if each.parent.name in ("bin", "sbin") and each.name in TOOLS:  # often a link
                yield f"{name} is of no use to the job"
            if checked and PRIVATE.fullmatch(each.name):
                yield f"{name} is private, by its name"
            if not is_file and not stat.S_ISDIR(about.st_mode):
                continue
            if is_file and about.st_mode & (stat.S_ISUID | stat.S_ISGID):
                yield f"{name} is set-uid or set-gid"
            if about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX:
                yield f"{name} is writable by everybody"
            if about.st_uid == USER and not name.startswith((home, RUNS)):
                yield f"{name} belongs to the user that the job runs as"
            if checked and is_file and holds_secret(each.read_text(encoding="utf-8", errors="ignore")):
                yield f"{name} holds a secret"


def holds_secret(text: str) -> bool:
    """Whether the text contains something like a token, or an address with credentials."""
    return Redactor()(text) != text or WITH_CREDENTIALS.search(text) is not None


def weights_of(image: Image) -> dict[str, int]:
    """Megabytes of the whole image and of its largest packages."""
    packages = next(image.root.glob("usr/local/lib/python3*/site-packages"))
    each = {path.name: _megabytes(path) for path in packages.iterdir() if path.is_dir()}
    heaviest = sorted(each, key=lambda name: each[name], reverse=True)[:8]
    return {"the whole image": _megabytes(image.root)} | {name: each[name] for name in heaviest}


def _megabytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*")) // 1_000_000


def refuses_bad_settings(image: Image, folder: Path) -> bool:
    """Whether it exits with 2 without its settings, and names them."""
    done = subprocess.run(image.container(folder, {}), capture_output=True, text=True, timeout=100)
    console.print(
        f"   exit code {done.returncode}: {done.stdout.strip() or done.stderr.strip()}", markup=False
    )
    return done.returncode == 2 and "HF_TOKEN is missing" in done.stdout + done.stderr


def rehearse(image: Image, root: Path) -> bool:
    """Run the rehearsal with the image as its retrain Space, and the image's own health check meanwhile."""
    health: list[int] = []
    asking: list[threading.Thread] = []

    def ask_for_health() -> None:
        world.host.wait_stage(RETRAIN_SPACE, {"RUNNING"}, timeout=120)
        check = ["runc", "exec", image.containers[-1], *image.config["Healthcheck"]["Test"][1:]]
        health.append(subprocess.run(check, timeout=60).returncode)

    def container(variables: Mapping[str, str]) -> list[str]:
        command = image.container(root, variables)
        asking.append(threading.Thread(target=ask_for_health))
        asking[-1].start()
        return command

    with World(root, "urgency") as world:
        world.host.containers[RETRAIN_SPACE] = container
        record = play(world, read_grievances(None), None)
        for thread in asking:
            thread.join()
        code = world.host.exit_code(RETRAIN_SPACE)
        denied = re.findall(".*(?:Permission|Read-only).*", world.host.log_path(RETRAIN_SPACE).read_text())
    console.print(f"   health checks: {health}, exit code of the last run: {code}", *denied, sep="\n   ")
    return health == [0, 0] and code == 0 and record["outcome"] == "accepted" and not denied


def main(name: str) -> int:
    """0: the image is as it should be; 1: it is not, and the output says why."""
    logging.disable(logging.WARNING)
    folder = tempfile.mkdtemp(prefix="image_check_")
    os.chdir(folder)  # in a clone, the rehearsal's files would belong to root
    root = Path("rehearsal_run").resolve()
    root.mkdir()
    with mounted(name) as image:
        console.print(f"[bold]{name}[/] {image.config['Labels']}")
        for what, megabytes in weights_of(image).items():
            console.print(f"   {megabytes:>6,} MB  {what}")
        faults = list(faults_of(image))
        console.print("[bold]Without settings[/]")
        if not refuses_bad_settings(image, root):
            faults.append("bad settings do not end it with 2")
        if not rehearse(image, root):
            faults.append("the rehearsal did not end as it should")
    for fault in faults:
        console.print(f"[red]{fault}[/]")
    if faults:
        console.print(f"{len(faults)} faults; logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    console.print("[bold]The image is as it should be[/]")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal.image_check", description=__doc__.split("\n")[0]
    )
    parser.add_argument("image")
    sys.exit(main(parser.parse_args().image))
