"""No test leaves the machine."""

import socket

import pytest


def test_the_suite_cannot_leave_the_machine() -> None:
    with pytest.raises(PermissionError, match="leave the machine"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
