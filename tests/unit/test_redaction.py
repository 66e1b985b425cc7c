"""Secrets are masked in messages, arguments and tracebacks, also those of other people's loggers."""

import io
import json
import logging
from urllib.parse import quote

from retrain.redaction import RedactingFilter, Redactor

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
