"""The documents of the repository, and what they contain: Markdown tokens, files and code to compare with."""

import subprocess
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from configs import BaseConfig
from tests.conftest import SOURCE

TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=SOURCE,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()
FILES = [name for name in TRACKED if (SOURCE / name).is_file()]
TEMPLATES = {"retrain/hub/model_card.md", "retrain/reporting/report.md"}
# The README comes first, because people read it first.
DOCUMENTS = sorted(
    (name for name in FILES if name.endswith(".md") and name not in TEMPLATES),
    key=lambda name: (name != "README.md", name),
)
CODE = {name: (SOURCE / name).read_text(encoding="utf-8") for name in FILES if name.endswith(".py")}
TESTS = "\n".join(text for name, text in CODE.items() if name.startswith("tests/"))
ALL_BUT_TESTS = "\n".join(text for name, text in CODE.items() if not name.startswith("tests/"))

# A job's settings: only those that have no default.
NEEDED = {
    "HF_TOKEN": "hf_secret_of_the_city_0123456789",
    "LABEL": "urgency",
    "DATASET_REPO_ID": "city/data",
    "HUB_MODEL_ID": "city/model",
    "API_ENDPOINT": "https://city-inference.hf.space/predict",
    "SPACE_REPO_ID": "city/inference",
}
FIELDS = {name.upper() for name in BaseConfig.model_fields}


def tokens_of(document: str) -> Iterator[tuple[Token, int]]:
    """Every token, the inline ones too, and its line."""
    parser = MarkdownIt().enable("table")
    line = 0
    for token in parser.parse((SOURCE / document).read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else line
        yield token, line
        within = line
        for child in token.children or ():
            within += child.type in ("softbreak", "hardbreak")
            yield child, within


def code_of(document: str) -> Iterator[tuple[str, int]]:
    """What is in backticks, and its line."""
    return ((token.content, line) for token, line in tokens_of(document) if token.type == "code_inline")
