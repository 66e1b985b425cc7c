"""The catalogue of sentences: complete, compiled, and with the same gaps in each language."""

import re
import string
import subprocess
import sys
from typing import get_args

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from configs import RunSettings
from retrain.language import LOCALE, catalogue, duration
from tests.conftest import SOURCE

LANGUAGES = sorted(path.name for path in LOCALE.iterdir() if path.is_dir())


def translations_in(language: str) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES/retrain.po").open("rb") as file:
        return read_po(file, locale=language)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Those in code and templates, as `make catalogue` collects them."""
    file = tmp_path_factory.mktemp("catalogue") / "retrain.pot"
    command = re.search(
        r"pybabel (-q extract .*?)-o \S+ (.*?)\n\t\$\(BIN\)", (SOURCE / "Makefile").read_text(), re.S
    )
    assert command
    arguments = f"{command[1]} {command[2]}".replace("\\\n", " ").replace('""', " ").split()
    arguments.remove("--copyright-holder")
    subprocess.run(
        [sys.executable, "-m", "babel.messages.frontend", *arguments[:2], "-o", file, *arguments[2:]],
        cwd=SOURCE,
        check=True,
    )
    with file.open("rb") as made:
        return {str(message.id) for message in read_po(made) if message.id}


def test_the_setting_offers_the_languages_that_there_are() -> None:
    offered = get_args(RunSettings.model_fields["report_language"].annotation)
    assert sorted(offered) == sorted(["en", *LANGUAGES])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_translated_and_no_other_is(language: str, sentences: set[str]) -> None:
    translated = {str(message.id) for message in translations_in(language) if message.id and message.string}
    assert translated == sentences


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language: str) -> None:
    with (LOCALE / language / "LC_MESSAGES/retrain.mo").open("rb") as file:
        compiled = {message.id: message.string for message in read_mo(file) if message.id}
    assert compiled == {each.id: each.string for each in translations_in(language) if each.id}, (
        "make catalogue"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_gaps_of_its_sentence(language: str) -> None:
    def gaps(sentence: str) -> list[tuple[str, str]]:
        return sorted((name, form or "") for _, name, form, _ in string.Formatter().parse(sentence) if name)

    for message in translations_in(language):
        assert gaps(str(message.string)) == gaps(str(message.id)), message.id


def test_a_language_without_a_catalogue_is_english() -> None:
    assert catalogue("xx").gettext("The run failed.") == "The run failed."
    assert catalogue("ne").gettext("The run failed.") != "The run failed."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (60, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_duration_is_said_in_the_language_of_the_page() -> None:
    assert duration(3900, "ne") == "1 घण्टा 05 मिनेट"
