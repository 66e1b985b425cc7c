"""What the image check finds in a folder that is no good image, and that it finds nothing in a good one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.image_check import USER, Image, faults_of

CONFIG = {"User": "1000", "Env": ["HOME=/home/user"], "Cmd": ["python", "train_model.py"]}


def put(root: Path, name: str, content: str = "", mode: int = 0o644) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)
    return file


@pytest.fixture
def image(tmp_path: Path) -> Image:
    root = tmp_path / "root"
    put(root, "app/train_model.py", "print()")
    put(root, "usr/bin/python3.12", mode=0o755)
    put(root, "etc/ssl/certs/authority.pem", "-----BEGIN CERTIFICATE-----")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return Image(root, CONFIG)


def test_nothing_is_found_in_a_good_image(image: Image) -> None:
    assert list(faults_of(image)) == []


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda root: put(root, "usr/bin/su", mode=0o4755), "/usr/bin/su is set-uid or set-gid"),
        (lambda root: put(root, "srv/open", mode=0o666), "/srv/open is writable by everybody"),
        (lambda root: (root / "srv").mkdir(mode=0o777) or (root / "srv").chmod(0o777), "/srv is writable by"),
        (lambda root: (root / "usr/bin/gcc").symlink_to("gcc-12"), "/usr/bin/gcc is of no use"),
        (lambda root: put(root, "app/.git/config"), "/app/.git is private"),
        (lambda root: put(root, "app/.env.production"), "/app/.env.production is private"),
        (lambda root: put(root, "etc/x", "hf_" + "a1" * 15), "/etc/x holds a secret"),
        (
            lambda root: put(root, "etc/pip.conf", "index = https://token@host/"),
            "/etc/pip.conf holds a secret",
        ),
    ],
)
def test_what_should_not_be_there_is_found(image: Image, spoil: Callable[[Path], object], found: str) -> None:
    spoil(image.root)
    (fault,) = faults_of(image)
    assert found in fault


@pytest.mark.skipif(os.geteuid() != 0, reason="a file is given to another user")
def test_what_the_job_could_overwrite_is_found(image: Image) -> None:
    os.chown(image.root / "app" / "train_model.py", USER, USER)
    assert list(faults_of(image)) == ["/app/train_model.py belongs to the user that the job runs as"]


@pytest.mark.parametrize(
    ("config", "history", "found"),
    [
        (CONFIG | {"User": ""}, "", "it runs as root"),
        (CONFIG | {"Env": ["HOME=/home/user", "TOKEN=hf_" + "a1" * 15]}, "", "a secret is in its config"),
        (
            CONFIG,
            "ARG PIP_EXTRA_INDEX_URL=https://me:pw@host/",
            "a secret is in its configuration or history",
        ),
    ],
)
def test_who_it_runs_as_and_how_it_was_built_are_looked_at(
    image: Image, config: dict[str, object], history: str, found: str
) -> None:
    (fault,) = faults_of(Image(image.root, config, history))
    assert found in fault
