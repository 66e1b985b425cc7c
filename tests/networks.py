"""What stands between a job and the Hub in a company: a forward proxy, and TLS with its own certificate."""

import contextlib
import http.client
import select
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "proxy-connection", "proxy-authorization", "transfer-encoding", "keep-alive"}


class ForwardProxy:
    """A forward proxy on loopback: CONNECT, and requests in absolute form (RFC 9112, section 3.2.2).

    routes: the ports on this machine of the hosts that it knows, by "host:port". answers: statuses that it
    gives in place of the next answers. seen: the methods and hosts that were asked for.
    """

    def __init__(self, routes: dict[str, int]) -> None:
        self.answers: list[int] = []
        self.seen: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                if self.is_refused(self.path):
                    return
                with socket.create_connection(("127.0.0.1", routes[self.path])) as upstream:
                    self.send_response(200)
                    self.end_headers()
                    pump(self.connection, upstream)
                self.close_connection = True

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                place = f"{url.hostname}:{url.port or 80}"
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.is_refused(place):
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", routes[place])
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
                upstream.request(self.command, f"{url.path}?{url.query}".rstrip("?"), body, headers)
                answer = upstream.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP | {"content-length", "date", "server"}:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                self.wfile.write(content)
                upstream.close()

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 (the names are of http.server)

            def is_refused(self, place: str) -> bool:
                outer.seen.append(f"{self.command} {place}")
                if outer.answers:
                    self.send_response(outer.answers.pop(0))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return True
                return False

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> "ForwardProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def make_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={host} -keyout {key} -out {certificate}"
    )
    names = f"subjectAltName=DNS:{host},IP:127.0.0.1"
    subprocess.run([*made.split(), "-addext", names], check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def tls_in_front_of(port: int, certificate: Path, key: Path) -> Any:
    """A port that speaks TLS, and passes what it is sent on to another one of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(connection, server_side=True) as client,
            socket.create_connection(("127.0.0.1", port)) as upstream,
        ):
            pump(client, upstream)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def pump(one: socket.socket, other: socket.socket) -> None:
    """Copy between two sockets until one of them is closed."""
    while True:
        pending = isinstance(one, ssl.SSLSocket) and one.pending()
        for source in [one] if pending else select.select([one, other], [], [])[0]:
            if not (data := source.recv(65536)):
                return
            (other if source is one else one).sendall(data)
