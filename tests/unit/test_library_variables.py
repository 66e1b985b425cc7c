"""Variables that libraries read: what can't be used is taken out, and named."""

import subprocess
import sys
from pathlib import Path

import pytest

from retrain.library_variables import take_out_unusable
from tests.conftest import SOURCE


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HF_HUB_DOWNLOAD_TIMEOUT", "10s", "'10s' should be a whole number such as 10"),
        ("HF_HUB_ETAG_TIMEOUT", "1.5", "'1.5' should be a whole number such as 10"),
        ("HF_HUB_ETAG_TIMEOUT", "-1", "'-1' should be 0 or more"),
        ("HF_HUB_ETAG_TIMEOUT", "9" * 5000, "should be a whole number such as 10"),
        ("HF_DATASETS_IN_MEMORY_MAX_SIZE", "2 GB", "'2 GB' should be a number such as 10"),
        ("TQDM_MININTERVAL", "nan", "'nan' should be a number such as 10"),
        ("TQDM_POSITION", "first", "'first' should be a whole number such as 10"),
        ("HF_HUB_USER_AGENT_ORIGIN", "नगर", "should be of visible ASCII characters"),
        ("HF_HUB_OFFLINE", "1", "a run reads from the Hub and writes to it"),
        ("TRANSFORMERS_OFFLINE", "true", "a run reads from the Hub and writes to it"),
        ("SSL_CERT_FILE", "/no/such/file", "'/no/such/file' should be a file with certificates, as PEM"),
        ("SSL_CERT_FILE", "/", "'/' should be a file with certificates, as PEM"),
        ("REQUESTS_CA_BUNDLE", __file__, "should be a file with certificates, as PEM"),
        ("HTTPS_PROXY", "socks5://user:secret@proxy.example:1080", "SOCKS is not supported"),
        ("https_proxy", "http://user:secret@proxy.example:port", "should be an address such as"),
        ("ALL_PROXY", "http://", "should be an address such as"),
    ],
)
def test_what_can_not_be_used_is_taken_out_and_named(name: str, value: str, said: str) -> None:
    environ = {name: value, "PATH": "/bin"}
    (warning,) = take_out_unusable(environ)
    assert environ == {"PATH": "/bin"}
    assert warning.startswith(f"{name} is ignored: ")
    assert said in warning
    assert "secret" not in warning


def test_what_can_be_used_stays() -> None:
    environ = {
        "HF_HUB_DOWNLOAD_TIMEOUT": "30",
        "TQDM_POSITION": "-1",
        "TQDM_MININTERVAL": "0.5",
        "HF_HUB_OFFLINE": "0",
        "HTTPS_PROXY": "http://user:secret@proxy.example:3128/",
        "HTTP_PROXY": "proxy.example:3128",
        "NO_PROXY": "localhost,.example",
        "REQUESTS_CA_BUNDLE": str(Path(__file__).parent),  # a folder may be named, too
    }
    before = dict(environ)
    assert take_out_unusable(environ) == []
    assert environ == before


def test_a_slash_at_the_end_of_the_endpoint_is_taken_off() -> None:
    environ = {"HF_ENDPOINT": "https://hub.example/"}
    assert take_out_unusable(environ) == []
    assert environ == {"HF_ENDPOINT": "https://hub.example"}


def test_the_operators_commands_start_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "retrain", "versions", "--env-file", str(tmp_path / "none")],
        env={"PATH": "/bin", "HF_HUB_DOWNLOAD_TIMEOUT": "10s"},
        cwd=SOURCE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "HF_HUB_DOWNLOAD_TIMEOUT is ignored: '10s' should be a whole number" in done.stderr
    assert "Traceback" not in done.stderr
