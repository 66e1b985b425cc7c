"""The journal of a run: what is written, what is read from it, and from which run another goes on."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retrain.events import Ended, Warned
from retrain.journal import Journal
from retrain.lifecycle.resumption import resumable_run
from retrain.redaction import Redactor
from tests.conftest import SOURCE
from tests.hostile_texts import HOSTILE


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [journal.write(Warned(str(n))) for n in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert sorted(int(entry.event.message) for entry in journal.read()) == sorted([*range(200)] * 4)


def test_a_run_folder_is_in_use_as_long_as_its_supervisor_lives(tmp_path: Path) -> None:
    code = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.journal import Journal
from retrain.events import Inputs
journal = Journal.create(Path(sys.argv[1])); journal.write(Inputs({{"a": 1}}))
print("ready", flush=True); time.sleep(300)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    (tmp_path / "run" / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    assert resumable_run(tmp_path, tmp_path / "own", {"a": 1}) is None
    other.kill()
    other.communicate()
    assert resumable_run(tmp_path, tmp_path / "own", {"a": 1}) == tmp_path / "run"
    assert resumable_run(tmp_path, tmp_path / "own", {"a": 2}) is None


# --- the disk


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_journal_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], check=True)
    try:
        journal = Journal.create(small / "run")

        def fill(name: str) -> None:
            with (small / name).open("wb", buffering=0) as filler, contextlib.suppress(OSError):
                while filler.write(bytes(4096)):
                    pass

        fill("first")
        written = [f"{i} " + "x" * 3000 for i in range(60)]
        for i, message in enumerate(written):
            journal.warn(message)
            if i == 20:  # the ballast is given back by now, and somebody else takes it
                fill("second")
        assert [entry.event.message for entry in journal.read()] == written
        assert len(journal.path.read_text().splitlines()) < len(written)
        (small / "first").unlink()
        journal.write(Ended("failed", ("The disk is full.",)))
        assert len(journal.path.read_text().splitlines()) == len(written) + 1
        assert journal.write_run_record().outcome == "failed"
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)  # the journal holds its folder


def test_a_secret_with_a_quotation_mark_takes_no_event_with_it(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run", Redactor(['city"', "reasons"]))
    journal.write(Ended("failed", ('The token is city"',)))
    assert journal.write_run_record().reasons == ("The token is [secret]",)


def test_an_event_is_one_whatever_stands_in_it(tmp_path: Path) -> None:
    """What ends a line elsewhere does not end one here; what can't be written is told as far as it can."""
    journal = Journal.create(tmp_path / "run")
    for text in HOSTILE[:-1]:
        journal.write(Warned(text))
    journal.write(Warned("half of a pair \ud83d"))
    journal.write(Ended("failed", ("The last one.",)))
    assert [getattr(entry.event, "message", None) for entry in journal.read()] == [
        *HOSTILE[:-1],
        "half of a pair ?",
        None,
    ]
    assert journal.write_run_record().outcome == "failed"
    with journal.path.open("ab") as being_written:
        being_written.write('{"event": "warning", "message": "पानी'.encode()[:-1])
    assert journal.write_run_record().outcome == "failed"
