"""Every variable, file and function that a document names exists, and every link has a target."""

import os
import re
from pathlib import Path

import pytest

from configs import BaseConfig, get_config
from retrain.setup.installation import OURS
from tests.documents.reading import ALL_BUT_TESTS, DOCUMENTS, FILES, NEEDED, code_of, tokens_of


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_variable_that_a_document_names_is_one_that_the_code_reads(document: str) -> None:
    for text, line in code_of(document):
        if not (variable := re.fullmatch(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=(\S+))?", text)):
            continue
        name, value = variable.groups()
        known = name in OURS or re.search(rf"\b({name}|{name.lower()})\b", ALL_BUT_TESTS)
        assert known, f"{document}:{line}: {name}"
        if value and name.lower() in BaseConfig.model_fields:
            get_config(NEEDED | {name: value})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_function_that_a_document_names_exists(document: str) -> None:
    """A file of the repository, from its root or beside the document; or one that the code writes."""
    folders = {str(parent) for name in FILES for parent in Path(name).parents}
    for text, line in code_of(document):
        if re.fullmatch(r"[\w.][\w./-]*(/|\.(py|md|jsonl?|html|parquet|log|toml|txt|ya?ml|svg|png))", text):
            paths = {os.path.normpath(text), os.path.normpath(Path(document).parent / text)}
            written = f'"{text.rstrip("/")}"' in ALL_BUT_TESTS
            assert paths & {*FILES, *folders} or written, f"{document}:{line}: {text}"
        elif re.fullmatch(r"[a-z]+(_[a-z]+)+", text):
            assert re.search(rf"\b{text}\b", ALL_BUT_TESTS) or f"{text}.py" in FILES, (
                f"{document}:{line}: {text}"
            )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_picture_of_a_document_is_there(document: str) -> None:
    folders = {str(parent) for name in FILES for parent in Path(name).parents}
    for token, line in tokens_of(document):
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if not target or re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = os.path.normpath(Path(document).parent / path) if path else document
        assert there in {*FILES, *folders}, f"{document}:{line}: {target}"
        assert not anchor or anchor in anchors_of(there), f"{document}:{line}: {target}"


def anchors_of(document: str) -> set[str]:
    """The headings' anchors, as GitHub and the Hub make them."""
    tokens = [token for token, _ in tokens_of(document)]
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
