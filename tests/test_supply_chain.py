"""What the image is made of: pinned by version and hash, the same in both variants, and known by licence."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SOURCE

LOCKS = ("requirements-cpu.lock", "requirements-cuda.lock")
PIN = re.compile(r"(?m)^([a-z0-9-]+)==(\S+)(?: ; (.+?))? \\$((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$")
CUDA_ONLY = re.compile(r"nvidia-|cuda-|triton$")


def pins(lock: str) -> set[tuple[str, str, str]]:
    """Name, version and condition of each package."""
    return {match.group(1, 2, 3) for match in PIN.finditer((SOURCE / lock).read_text())}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_a_version_and_a_hash_and_no_address(lock: str) -> None:
    text = (SOURCE / lock).read_text()
    named = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(named) == len(pins(lock)) > 80
    assert "://" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_requirements_txt_pins_and_the_tests_use_no_other_version(lock: str) -> None:
    locked = {name: version.removesuffix("+cpu") for name, version, _ in pins(lock)}

    def pinned(file: str) -> dict[str, str]:
        found = re.findall(r"(?m)^([\w.-]+)==(\S+)$", (SOURCE / file).read_text())
        return {name.replace("_", "-").lower(): version for name, version in found}

    wanted = pinned("requirements.txt")
    assert wanted.items() <= locked.items()
    assert not [
        name
        for name, version in pinned("requirements-dev.txt").items()
        if locked.get(name, version) != version
    ]


def test_the_variants_differ_in_torch_and_its_gpu_libraries_alone() -> None:
    cpu, cuda = (pins(lock) for lock in LOCKS)
    assert {name for name, _, _ in cpu - cuda} == {"torch"}
    assert {name for name, _, _ in cuda - cpu if not CUDA_ONLY.match(name)} == {"torch"}


def licences(table: str) -> dict[str, str]:
    """Licence by package, of pip-licenses' Markdown."""
    rows = (row.split("|")[1:3] for row in table.splitlines()[2:])
    return {name.strip().lower().replace("_", "-"): licence.strip() for name, licence in rows}


def test_the_licence_of_every_package_on_linux_is_listed() -> None:
    needed = {
        name
        for name, _, condition in pins("requirements-cpu.lock")
        if not re.search("win32|== 'emscripten'", condition or "")
    }
    listed = licences((SOURCE / "docs" / "licenses.md").read_text())
    assert needed == set(listed)
    assert "UNKNOWN" not in listed.values()
    command = [sys.executable, "-m", "piplicenses", "--format=markdown", "--no-version", "--with-system"]
    told = subprocess.run([*command, "--packages", *needed], capture_output=True, text=True, timeout=60)
    assert set(licences(told.stdout)) == needed, "not installed as the lock has it: make licenses"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_bill_of_materials_names_every_package_with_its_hashes(lock: str, tmp_path: Path) -> None:
    bill = tmp_path / "sbom.json"
    command = ["-m", "cyclonedx_py", "requirements", str(SOURCE / lock), "--output-file", str(bill)]
    subprocess.run([sys.executable, *command], check=True, timeout=60)
    components = json.loads(bill.read_text())["components"]
    assert {(each["name"], each["version"]) for each in components} == {pin[:2] for pin in pins(lock)}
    assert all(each["externalReferences"][0]["hashes"] for each in components)


COMPANIONS = ("inference", "prepare_dataset", "review")
DOCKERFILES = ["Dockerfile", *(f"companion_spaces/{name}/Dockerfile" for name in COMPANIONS)]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_runs_as_user_1000_and_takes_only_pinned_packages(dockerfile: str) -> None:
    text = (SOURCE / dockerfile).read_text()
    assert re.findall(r"(?m)^USER (.+)$", text)[-1] == "1000"
    (installed,) = re.findall(r"pip install .*?-r \"?(?:/app/)?([\w$.]+)", text)
    if installed == "$REQUIREMENTS":
        assert "ARG REQUIREMENTS=requirements-cuda.lock\n" in text
    else:
        lines = (SOURCE / dockerfile).with_name(installed).read_text().split("\n")
        assert not [line for line in lines if line and not re.fullmatch(r"[\w-]+==[\w.]+", line)]
    assert not re.search(r"\b(apt-get|curl|wget|git clone)\b", text)
