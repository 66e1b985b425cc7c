"""What people get: a mail over real SMTP, a message to a real webhook, a report; what they may not see."""

import html
import json
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.journal import Journal
from retrain.reporting.history import publish_run
from retrain.reporting.notification import notify, warnings_before
from retrain.reporting.report import write_report
from tests.conftest import CITY, USERS, City, free_port

Splits = dict[str, list[dict[str, Any]]]


class Mailbox:
    """Keeps what an SMTP server is given."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=(port := free_port()))
    server.start()
    yield box, port
    server.stop()


@pytest.fixture
def webhook() -> Iterator[tuple[list[Any], int]]:
    received: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield received, server.server_port
    server.shutdown()
    server.server_close()


def test_a_failed_run_is_told_by_mail_and_webhook_before_the_space_is_paused(
    city: City, mailbox: tuple[Mailbox, int], webhook: tuple[list[Any], int]
) -> None:
    (box, smtp), (received, hook) = mailbox, webhook
    mail = f"mailto://127.0.0.1:{smtp}?from=retrain@city.example&to=officer@city.example&mode=insecure"
    run = city.run(NOTIFY_URLS=f"{mail}, json://127.0.0.1:{hook}/secret-path-of-the-hook")
    assert run.exit_code == 1, run.output
    (told,) = box.mails
    assert told["Subject"] == "Retraining the urgency model: failed"
    body = told.get_body(("plain",)).get_content()
    assert "FAILED: The run failed." in body
    assert "it does not exist, or HF_TOKEN may not see it" in body
    assert received[0]["title"] == "Retraining the urgency model: failed"
    assert "secret-path" not in run.output
    assert "secret-path" not in (run.folder / "events.jsonl").read_text()
    pauses = [r for r in city.hub.requests if r.path.endswith("/pause")]
    assert len(pauses) == 1
    assert city.paused


def test_a_space_that_is_not_paused_is_told_in_a_message_of_its_own(
    city: City, webhook: tuple[list[Any], int]
) -> None:
    received, hook = webhook
    city.hub.faults.add(path="/spaces/city/retrain/pause", status=403, times=None)
    job = city.start(NOTIFY_URLS=f"json://127.0.0.1:{hook}/")
    for line in iter(job.stdout.readline, ""):  # type: ignore[union-attr]
        if "stays up and tries again" in line:
            break
    job.terminate()
    city.end(job)
    assert [message["title"] for message in received] == [
        "Retraining the urgency model: failed",
        "NOT PAUSED, still billed: city/retrain",
    ]


def test_a_service_that_hangs_or_refuses_is_left_behind_and_named() -> None:
    """It takes the connection, and sends a byte now and then, for ever."""
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not stop.wait(0.2):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as closed:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        hanging, refusing = (f"json://127.0.0.1:{s.getsockname()[1]}/token" for s in (listener, closed))
        closed.close()
        failures = notify([hanging, refusing], "title", "body", good=True, patience=6)
        stop.set()
    assert "number 1 of NOTIFY_URLS (json): no answer in 6 seconds" in failures[0]
    assert "number 2 of NOTIFY_URLS (json): it was refused or not reached" in failures[1]
    assert "token" not in str(failures)


def test_mail_from_a_space_is_warned_about_at_the_start() -> None:
    urls = ["slack://a/b/c", "mailto://user:pass@example.org"]
    assert "lets no SMTP out" in warnings_before(urls, on_a_space=True)[0]
    assert warnings_before(urls, on_a_space=False) == []
    assert warnings_before(urls[:1], on_a_space=True) == []


def test_the_report_of_a_run_shows_texts_only_if_asked_to(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.serve_newest()
    shown = {}
    for texts in ("false", "true"):
        run = city.run(
            ALLOW_FIRST_RELEASE="true", REPORT_TEXTS=texts, LEARNING_RATE="1e-6", COMPARE_WITH="hub"
        )
        report = (run.folder / "report.html").read_text(encoding="utf-8")
        assert "Mistakes worth a look" in report
        shown[texts] = [
            row["grievance"] for row in good_splits["test"] if html.escape(row["grievance"]) in report
        ]
        for file in ("events.jsonl", "run.json"):
            kept = (run.folder / file).read_text(encoding="utf-8")
            assert not [row for row in good_splits["test"] if row["grievance"] in kept]
    assert not shown["false"]
    assert shown["true"]


@pytest.mark.parametrize(("private", "kept"), [(True, {"run.json", "report.html"}), (False, {"run.json"})])
def test_a_report_with_texts_is_kept_in_a_private_repository_alone(
    tmp_path: Path, private: bool, kept: set[str]
) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/model", private=private)
        journal = Journal.create(tmp_path / "run")
        journal.write("started", folder=str(journal.folder), settings={"REPORT_TEXTS": True})
        journal.write("outcome", outcome="failed", reasons=["x"])
        journal.write_run_record()
        write_report(journal.folder)
        publish_run(api, "city/model", journal.folder)
        files = api.list_repo_files("city/model", revision="runs")
    assert {Path(file).name for file in files if file.startswith("run/")} == kept


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e\x00\x1b[31m=HYPERLINK("x")'


def test_hostile_text_in_a_report_is_harmless(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.write("started", label="urgency", folder=HOSTILE, settings={"DATASET_REPO_ID": HOSTILE})
    journal.warn(HOSTILE)
    mistake = {
        "row": 1,
        "hash": "0",
        "label": HOSTILE,
        "answer": HOSTILE,
        "confidence": 1.0,
        "text": HOSTILE,
    }
    (journal.folder / "mistakes.json").write_text(json.dumps([mistake]), encoding="utf-8")
    journal.write("outcome", outcome="failed", reasons=[HOSTILE])
    report = write_report(journal.folder).read_text(encoding="utf-8")
    assert "<script" not in report
    assert "<img" not in report
    assert "&lt;script&gt;" in report
    assert report.count("\u202e") == report.count("\x1b") == report.count("\x00") == 0


def test_a_report_is_made_of_a_run_that_hardly_began(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    assert "The run has not ended." in write_report(journal.folder).read_text(encoding="utf-8")
