"""The journal of a run: what is written to it, and what is read from it."""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from retrain.events import Alive, Ended, Environment, Validation, Verdict, Warned
from retrain.journal import Journal
from retrain.records import Version
from retrain.redaction import Redactor
from retrain.run_record import RunRecord
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


def test_a_journal_is_in_use_as_long_as_its_supervisor_lives(tmp_path: Path) -> None:
    code = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.journal import Journal
journal = Journal.create(Path(sys.argv[1])); print("ready", flush=True); time.sleep(300)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    assert Journal(tmp_path / "run").in_use
    other.kill()
    other.communicate()
    assert not Journal(tmp_path / "run").in_use


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


def test_two_who_write_at_once_write_one_after_the_other(tmp_path: Path) -> None:
    """The file is a pipe that fills up in the first line: the second has to wait until it is read."""
    journal = Journal(tmp_path)
    os.mkfifo(journal.path)
    reader = os.open(journal.path, os.O_RDONLY | os.O_NONBLOCK)
    held_open = os.open(journal.path, os.O_WRONLY)  # between the two writers it would end for the reader
    first = threading.Thread(target=journal.write, args=(Warned("x" * 200_000),))
    second = threading.Thread(target=journal.write, args=(Warned("second"),))
    first.start()
    select.select([reader], [], [], 20)
    second.start()
    second.join(0.5)
    assert second.is_alive()
    os.set_blocking(reader, True)
    read = []

    def drain() -> None:
        while part := os.read(reader, 65536):
            read.append(part)

    draining = threading.Thread(target=drain)
    draining.start()
    for thread in (first, second):
        thread.join(20)
    os.close(held_open)
    draining.join(20)
    os.close(reader)
    messages = [json.loads(line)["message"] for line in b"".join(read).splitlines()]
    assert messages == ["x" * 200_000, "second"]


# --- what is written


def test_an_event_has_its_time_in_utc_and_plain_values(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.write(Environment({"f1": np.float32(0.5), "rows": np.int64(3), "where": Path("a")}))
    journal.write(Validation(np.int64(3), 4, np.float32(0.5), np.float64(0.25)))
    journal.write(Verdict("rejected", ("why",), served=Version("v1", "0" * 40)))
    plain, validation, verdict = map(json.loads, journal.path.read_text().splitlines())
    assert datetime.fromisoformat(plain.pop("time")).utcoffset() == timedelta(0)
    assert plain == {"event": "environment", "f1": 0.5, "rows": 3, "where": "a"}
    del validation["time"]
    assert validation == {"event": "validation", "step": 3, "total": 4, "f1_macro": 0.5, "loss": 0.25}
    assert verdict["served"] == {"tag": "v1", "revision": "0" * 40, "verified": False, "given_up": False}
    assert [entry.event for entry in journal.read()] == [
        Environment({"f1": 0.5, "rows": 3, "where": "a"}),
        Validation(3, 4, 0.5, 0.25),
        Verdict("rejected", ("why",), served=Version("v1", "0" * 40)),
    ]


def test_each_string_is_masked_however_deep_it_stands(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run", Redactor(["sesame"]))
    journal.write(Environment({"reasons": ["sesame", {"a": ("sesame!",)}]}))
    journal.write(Ended("failed", ("sesame",)))
    values, ended = (entry.event for entry in journal.read())
    assert values == Environment({"reasons": ["[secret]", {"a": ["[secret]!"]}]})
    assert ended == Ended("failed", ("[secret]",))
    assert b"sesame" not in journal.path.read_bytes()


def test_a_warning_is_logged_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.warn("look")
    assert journal.record().warnings == (Warned("look"),)
    assert [record.getMessage() for record in caplog.records] == ["look"]


def test_a_sign_of_life_is_given_after_a_minute_of_silence(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.alive()
    journal._written_at -= 59
    journal.alive()
    assert list(journal.read()) == []
    journal._written_at -= 2
    journal.alive()
    journal.alive()
    assert [entry.event for entry in journal.read()] == [Alive()]


def test_half_a_line_is_cut_off_when_the_disk_fills_up_in_it(tmp_path: Path) -> None:
    """A limit on the size of a file does what a full disk does: it takes a part of a line."""
    code = f"""
import resource, signal, sys; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.events import Warned; from retrain.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
journal.write(Warned("first"))
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
journal.write(Warned("second"))
print(journal.path.stat().st_size - size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.write(Warned("third"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["first", "second", "third"]


def test_the_version_of_a_journal_is_another_after_each_event(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    versions = [journal.version]
    for _ in range(2):
        journal.write(Alive())
        versions.append(journal.version)
    assert len(set(versions)) == 3
    assert journal.version == Journal(tmp_path).version


# --- what is read from it


def test_the_record_is_written_whole_and_the_reserve_freed(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    assert (journal.folder / "ballast").stat().st_size == 256 * 1024
    journal.write(Ended("failed", ("सडक",)))
    record = journal.write_run_record()
    written = json.loads((journal.folder / "run.json").read_text(encoding="utf-8"))
    assert written == record.as_json()
    assert RunRecord.parse(written) == record == journal.record()
    assert "सडक" in (journal.folder / "run.json").read_text(encoding="utf-8")
    assert sorted(each.name for each in journal.folder.iterdir()) == ["events.jsonl", "run.json"]


def test_a_line_that_is_no_event_yet_is_left_out(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    assert list(Journal(tmp_path / "nowhere").read()) == []
    journal.write(Alive())
    with journal.path.open("a") as other:
        other.write('{"event": "warn')
    assert [entry.event for entry in journal.read()] == [Alive()]


def test_lines_of_others_between_our_events_are_left_out(tmp_path: Path) -> None:
    """A later version of the program may write kinds that this one does not know."""
    journal = Journal.create(tmp_path / "run")
    journal.write(Warned("one"))
    with journal.path.open("a") as other:
        other.write('null\n[]\n{"time": "x", "event": "new"}\n{"time": "x", "event": "stage"}\nx\n')
    journal.write(Warned("two"))
    assert [entry.event for entry in journal.read()] == [Warned("one"), Warned("two")]
