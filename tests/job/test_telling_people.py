"""What people get of a whole run: a mail over real SMTP, a message to a real webhook, a report."""

import html
import json
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.conftest import FIRST, City, free_port

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
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
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


def test_the_report_of_a_run_shows_texts_only_if_asked_to(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.serve_newest()
    shown = {}
    for texts in ("false", "true"):
        run = city.run(REPORT_TEXTS=texts, COMPARE_WITH="hub", **FIRST)
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
