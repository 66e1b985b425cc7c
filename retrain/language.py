"""The language of page, report and message: gettext's catalogue, whose keys are the English sentences.

`make catalogue` collects the sentences and compiles the translations. Log, errors and run.json are English.
"""

import gettext
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

DOMAIN, LOCALE = "retrain", Path(__file__).with_name("locale")
SETTING, DEFAULT = "REPORT_LANGUAGE", "en"


def N_(sentence: str) -> str:  # noqa: N802 (gettext's name for it)
    """Mark a sentence for the catalogue, where it is translated later."""
    return sentence


def language_of(settings: Mapping[str, Any] | None) -> str:
    """The language that a run's settings ask for; English where its journal does not say."""
    return str((settings or {}).get(SETTING, DEFAULT))


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The sentences in a language; English ones where it has no translation."""
    return gettext.translation(DOMAIN, LOCALE, [language], fallback=True)


def duration(seconds: float, language: str = DEFAULT) -> str:
    """As in "1 h 05 min", "3 min 20 s" or "12 s"."""
    _ = catalogue(language).gettext
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return _("{hours} h {minutes:02} min").format(hours=minutes // 60, minutes=minutes % 60)
    if minutes:
        return _("{minutes} min {seconds:02} s").format(minutes=minutes, seconds=rest)
    return _("{seconds} s").format(seconds=rest)


def templates(folder: Path, language: str, **options: Any) -> Environment:
    """Jinja's environment for the HTML templates in a folder, with `_` for sentences in that language."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        extensions=["jinja2.ext.i18n"],
        **options,
    )
    # Not "newstyle": what is filled in by str.format is escaped with the rest of the sentence.
    environment.install_gettext_translations(catalogue(language), newstyle=False)  # type: ignore[attr-defined]
    environment.filters["duration"] = lambda seconds: duration(seconds, language)
    environment.globals["language"] = language
    return environment
