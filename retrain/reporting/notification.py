"""Sends the summary by mail and chat, through apprise. Best effort: the run goes on without it."""

import logging
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from apprise import Apprise, NotifyFormat, NotifyType

# A service that hangs is left behind after so many seconds.
PATIENCE = 30.0
# Schemes that speak SMTP, whose ports are closed on a Space.
MAIL = ("mailto", "mailtos")

# Its messages hold the URLs, and so their passwords; ours do not.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


def warnings_before(urls: Sequence[str], *, on_a_space: bool) -> list[str]:
    """What can be said of these URLs before anything is sent."""
    if on_a_space and any(urlsplit(url).scheme in MAIL for url in urls):
        return [
            "NOTIFY_URLS has a mailto: URL, and a Space lets no SMTP out: that mail will not arrive. Use a "
            "service that takes HTTPS (a chat, or a mail service with an API of its own)."
        ]
    return []


def notify(
    urls: Sequence[str], title: str, body: str, *, good: bool, patience: float = PATIENCE
) -> list[str]:
    """Send to each service; returns what could not be delivered, by place and kind of URL."""
    kind = NotifyType.SUCCESS if good else NotifyType.FAILURE
    delivered: dict[int, bool] = {}

    def send(place: int, url: str) -> None:
        service = Apprise()
        service.add(url)
        delivered[place] = bool(
            service.notify(body, title=title, notify_type=kind, body_format=NotifyFormat.TEXT)
        )

    # Daemons: one that hangs does not keep the process from its end.
    threads = [threading.Thread(target=send, args=each, daemon=True) for each in enumerate(urls, 1)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [
        f"The summary could not be delivered to number {place} of NOTIFY_URLS ({urlsplit(url).scheme}): "
        + (
            "it was refused or not reached."
            if place in delivered
            else f"no answer in {patience:.0f} seconds."
        )
        for place, url in enumerate(urls, 1)
        if not delivered.get(place)
    ]
