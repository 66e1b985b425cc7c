"""Imported by every Python process that has this folder on its path: nothing may leave the machine."""

import ipaddress
import os
import socket
from typing import Any

_connect = socket.socket.connect


def _connect_to_loopback(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = address[0]
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise PermissionError(f"a test tried to leave the machine: {host}")
    _connect(self, address)


socket.socket.connect = _connect_to_loopback  # type: ignore[method-assign]

if "FORK_SERVER_OF_TESTS" in os.environ:
    from forked_start import start_in_fork_server

    start_in_fork_server()
