"""Messages that can't be delivered, or would not be."""

import socket
import threading

from retrain.reporting.notification import notify, warnings_before


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
