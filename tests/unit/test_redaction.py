"""Secrets are masked in messages, arguments and tracebacks, also those of other people's loggers."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest

from retrain.redaction import MASK, RedactingFilter, Redactor, masked
from tests.conftest import SOURCE

SECRET = "correct horse battery"


def logged(write: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Redactor([SECRET, SECRET + " staple"])))
    logger = logging.getLogger("somebody.else")
    logger.propagate = False
    logger.handlers = [handler]
    write(logger)  # type: ignore[operator]
    return stream.getvalue()


def test_a_secret_in_an_argument_is_masked() -> None:
    assert logged(lambda log: log.warning("token %s", SECRET)) == "token [secret]\n"


def test_a_secret_in_a_traceback_is_masked() -> None:
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("it failed")

    text = logged(fail)
    assert "ValueError: [secret]" in text
    assert SECRET not in text


def test_a_longer_secret_leaves_no_tail() -> None:
    assert Redactor([SECRET, SECRET + " staple"])(SECRET + " staple") == "[secret]"


def test_a_secret_is_masked_in_json_in_a_repr_and_in_a_url() -> None:
    secret = """open "sesame's" \\ & 100%"""
    redact = Redactor([secret])
    assert json.loads(redact(json.dumps({"message": secret}))) == {"message": "[secret]"}
    assert redact(repr({"API_TOKEN": secret})) == "{'API_TOKEN': '[secret]'}"
    assert redact("https://example.org/?token=" + quote(secret, safe="")).endswith("token=[secret]")


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    lines = ["-----BEGIN KEY-----", "c2VjcmV0IGxpbmU", "x", "-----END KEY-----"]
    redact = Redactor(["\n".join(lines)])
    assert [redact(line) for line in lines] == ["[secret]", "[secret]", "x", "[secret]"]
    assert redact("\n".join(lines)) == "[secret]"


def test_what_looks_like_a_token_is_masked_wherever_it_comes_from() -> None:
    redact = Redactor()
    assert "abcdef" not in redact("Authorization: Bearer abcdef0123456789")
    assert redact("hf_" + "A1" * 17) == "[secret]"
    assert redact("https://user:pass@example.org/x") == "https://[secret]@example.org/x"


@pytest.mark.parametrize(
    "written",
    [
        str,
        json.dumps,
        lambda secret: json.dumps(secret, ensure_ascii=False),
        repr,
        quote,
        lambda secret: quote(secret, safe=""),
        quote_plus,
        lambda secret: urlencode({"token": secret}),
    ],
    ids=["plain", "JSON", "JSON as it is", "repr", "path", "part of a path", "form", "query"],
)
def test_a_secret_is_masked_however_it_is_written(written: Callable[[str], str]) -> None:
    """Each way writes one of these secrets as none of the others does."""
    for secret in ("é/ b\\\t", 'पानी "x/y z"', "it's + a/b", "both ' and \" of them"):
        text = written(secret)
        masked = Redactor([secret])(f"before {text} after")
        assert masked.replace("token=", "").replace('"', "").replace("'", "") == "before [secret] after"


@pytest.mark.parametrize(("secret", "masked"), [("abcd", True), ("abc", False)])
def test_a_secret_of_four_characters_is_one(secret: str, masked: bool) -> None:
    """A shorter one would mask parts of any word."""
    assert Redactor([secret])(f"x{secret}y") == ("x[secret]y" if masked else f"x{secret}y")


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "a" * 20,
        "wandb_v1_" + "b" * 20,
        "wandb_v1_" + "b_C" * 10,
    ],
)
def test_what_looks_like_a_token_is_masked_as_often_as_it_stands_there(token: str) -> None:
    assert Redactor()(f"{token}, {token} and ({token})") == "[secret], [secret] and ([secret])"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_is_masked_whatever_its_case(scheme: str) -> None:
    assert Redactor()(f"Authorization: {scheme} abc.DEF-123~+/=") == f"Authorization: {scheme} [secret]"


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "a" * 19,
        "hf_hub_download was called",
        "wandb_v1_short",
        "the bearer waits",
        "https://example.org/a:b@c",
        "https://huggingface.co/city/model",
        "12:30 user@example.org",
    ],
)
def test_what_is_no_token_is_left(text: str) -> None:
    assert Redactor()(text) == text


def test_the_stack_that_a_logger_adds_is_masked() -> None:
    """Its frames show the lines of the code, and so what stands in them."""
    text = logged(lambda log: log.warning("where", stack_info=True) or "correct horse battery")
    assert "[secret]" in text
    assert SECRET not in text


def test_the_log_goes_to_one_handler_that_masks_and_noisy_libraries_are_quiet() -> None:
    """In a process of its own: it replaces the handlers."""
    code = f"""
import logging, sys; sys.path.insert(0, {str(SOURCE)!r})
from retrain.redaction import Redactor, set_up_logging
logging.basicConfig(format="old %(message)s")
set_up_logging(Redactor([{SECRET!r}]))
logging.getLogger("ours").info("a %s", {SECRET!r})
logging.getLogger("ours").debug("not told")
logging.getLogger("httpx").info("not told")
logging.getLogger("httpx").warning("told")
logging.getLogger("urllib3").warning("not told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line.split(" ", 1)[1] for line in (done.stdout + done.stderr).splitlines()]
    assert lines == ["INFO    a [secret]", "WARNING told"]


def test_of_a_json_value_each_string_is_masked_but_no_key_and_no_word_of_ours() -> None:
    value = {"outcome": "rejected", "rejected": ["rejected", 1, {"outcome": "rejected", "why": "rejected"}]}
    assert masked(value, Redactor(["rejected"]), keep=("outcome",)) == {
        "outcome": "rejected",
        "rejected": [MASK, 1, {"outcome": "rejected", "why": MASK}],
    }
