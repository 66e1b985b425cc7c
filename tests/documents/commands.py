"""The commands in the documents, and which of them a test runs."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.documents.reading import DOCUMENTS, tokens_of

SET = r'(\w+=("[^"]*"|\S+) )*'  # variables before a command, as a shell takes them
INLINE_COMMAND = re.compile(
    SET + r"(\.|set|make|python3?|pip|git|sh|bash|docker|podman|buildah|hf|apt-get|curl|openssl|"
    r"torchrun|ruff|pytest) .+"
)
SHOWN_ONLY = {"text", "json"}  # output and files


class Command(NamedTuple):
    """A command that a document asks people to type, and where."""

    document: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


def commands_in(document: str) -> Iterator[Command]:
    for token, line in tokens_of(document):
        if token.type == "code_inline" and INLINE_COMMAND.fullmatch(token.content):
            yield Command(document, line, token.content)
        elif token.type == "fence" and token.info == "console":
            for number, text in enumerate(token.content.splitlines(), line + 1):
                if text.startswith("$ "):
                    yield Command(document, number, re.sub(r"\s+# .*", "", text.removeprefix("$ ")))
        elif token.type in ("fence", "code_block") and token.info not in SHOWN_ONLY:
            yield Command(document, line, token.content.strip())


COMMANDS = [command for document in DOCUMENTS for command in commands_in(document)]
RUN_HERE: list[str] = []

# What takes too long or too much to be run here, and what runs it: a file, or a test anywhere in `tests`; and
# the words in it that do.
RUN_ELSEWHERE: dict[str, tuple[str, ...]] = {
    # continuous integration
    r"(make test(-unit)?|python -m pytest( tests/unit)?)": (".ci/run", "make test"),
    r"(make lint|ruff format --check \.|ruff check \.|mypy|PYTHONPATH=\S+ \S+lint-imports|hadolint .*|"
    r"actionlint)": (".ci/run", "make lint"),
    # what has to ask a registry
    r"(make lock|uv pip compile .*)": (".github/workflows/image.yml", "make lock"),
    r"(make audit|pip-audit .*)": (".github/workflows/image.yml", "make audit"),
    # what the image consists of
    r"(make sbom|cyclonedx-py requirements .*)": (
        "tests::test_the_bill_of_materials_names_every_package_with_its_hashes",
        "cyclonedx_py",
    ),
    r"(make licenses|pip-licenses .*)": (
        "tests::test_the_licence_of_every_package_on_linux_is_listed",
        "piplicenses",
    ),
    # the Space that prepares data sets
    r"python prepare_dataset\.py( hash)?": (
        "tests::test_the_hash_of_a_text_is_what_forget_takes",
        "hash",
    ),
    r"docker (build -t prepare \.|run --rm --env-file \.env prepare)": (
        "tests::test_the_space_prepares_at_a_restart_and_pauses_itself",
        "restart_space",
    ),
    r"apt-get install chromium": (".ci/run", "apt-get install", "chromium"),
    r"apt-get install postgresql": (".ci/run", "apt-get install", "postgresql"),
    # minutes with a real model; the test takes a few steps of a tiny one
    r"python -m benchmarks\.training speed.*": (
        "tests::test_the_training_benchmark_compares_both_recipes_on_the_same_batches",
        '"benchmarks.training", "speed"',
    ),
    # an image; the test takes its command and its env file, as docker reads it
    r"docker run --env-file \.env -p 7860:7860 --gpus all --shm-size 1g -v [\w-]+:/app/runs [\w:-]+": (
        "tests::test_the_containers_command_with_an_env_file_does_the_same",
        'parse_dockerfile((SOURCE / "Dockerfile")',
        "as_docker",
    ),
    # a Space with a model; the test runs every block of sh in its README
    r'curl (-X POST )?"\$SPACE/.*': (
        "tests::test_the_commands_of_the_readme_are_answered_as_it_shows",
        "```sh",
        '["sh", "-c", command]',
    ),
}


def runs(pattern: str) -> pytest.MarkDecorator:
    """Give a test the documented commands that it runs, in the order of the documents."""
    RUN_HERE.append(pattern)
    found = [command.text for command in COMMANDS if re.fullmatch(pattern, command.text, re.DOTALL)]
    assert found, f"no document has a command such as {pattern} any more: take its test away"
    return pytest.mark.parametrize("commands", [found], ids=["as written"])


def is_run(command: str) -> bool:
    return any(re.fullmatch(pattern, command, re.DOTALL) for pattern in (*RUN_HERE, *RUN_ELSEWHERE))
