"""Every command of every document is run, by a test of this folder or by what RUN_ELSEWHERE names."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import SOURCE
from tests.documents.commands import COMMANDS, RUN_ELSEWHERE, SET, Command, is_run, runs
from tests.documents.conftest import Clone
from tests.documents.reading import CODE, TESTS

for module in sorted(Path(__file__).parent.glob("test_*.py")):  # each names what it runs, at its import
    import_module(f"{__package__}.{module.stem}")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.document}:{command.line}")
def test_every_command_of_the_documents_is_run_by_a_test(command: Command) -> None:
    assert is_run(command.text), (
        f"{command}\nis run by no test: run it here, or say in RUN_ELSEWHERE what does"
    )


@pytest.mark.parametrize(("pattern", "place"), RUN_ELSEWHERE.items())
def test_what_is_run_elsewhere_is_run_there(pattern: str, place: tuple[str, ...]) -> None:
    (file, _, test), words = place[0].partition("::"), place[1:]
    text = TESTS if test else (SOURCE / file).read_text(encoding="utf-8")
    if test:
        body = re.search(rf"(?ms)^def {test}\(.*?(?=^\S(?<!\))|\Z)", text)
        assert body, f"{file} has no {test}"
        text = body[0]
    assert all(word in text for word in words), f"{place[0]} does not run {pattern}"
    found = [command for command in COMMANDS if re.fullmatch(pattern, command.text, re.DOTALL)]
    assert found, "no document has it any more: take it away"
    for command in found:
        if module := re.search(r"python -m (\S+)", command.text):
            source = CODE[module[1].replace(".", "/") + ".py"]
            unknown = [
                option for option in re.findall(r" (--[\w-]+)", command.text) if f'"{option}"' not in source
            ]
            assert not unknown, f"{command}: there is no option {unknown}"


@runs(SET + r"make \S+")
def test_every_make_target_of_the_documents_runs_what_a_test_runs(clone: Clone, commands: list[str]) -> None:
    for command in commands:
        for line in (
            clone.type(re.sub(r"\bmake\b", "make --dry-run", command)).replace("\\\n", " ").splitlines()
        ):
            # What builds an image is checked by the image check itself.
            assert "image" in command or is_run(line.removeprefix(".venv/bin/")), f"{command} runs {line}"


@runs(r"make|awk .*")
def test_a_bare_make_lists_every_target_with_a_line_about_it(clone: Clone, commands: list[str]) -> None:
    makefile = (SOURCE / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    for command in (*commands, "make help"):
        listed = dict(re.findall(r"(?m)^make ([a-z-]+) +(\S.*)$", clone.type(command)))
        assert listed.keys() == targets
