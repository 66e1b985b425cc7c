"""Made-up grievances in Nepali, romanised Nepali and English, for playing the whole job on one machine.

A small grammar over the phrases of sample_phrases.toml: openings, places, times, issues, severities, asides
and closings, each in three languages. No line is taken from a real complaint. It deliberately has what makes
real data hard: misspellings, mixed languages, words of another department, "no danger", urgency that is not
spelt out, labels that annotators disagree on, texts sent twice.
"""

import random
import tomllib
from pathlib import Path
from typing import Any

from retrain.dataset.splitting import split_rows

Row = dict[str, str]

URGENCY_SHARES = {"NORMAL": 45, "URGENT": 35, "HIGHLY URGENT": 20}
DEPARTMENT_SHARES = {
    "Municipal Governance & Community Services": 25,
    "Education, Health & Social Welfare": 22,
    "Infrastructure, Utilities & Natural Resources": 35,
    "Security & Law Enforcement": 18,
}
LABEL_NOISE = 0.055  # annotators disagree: a neighbouring urgency, or any other department
REPEATS = 0.015  # sent twice, half of them with other case and spacing
UNMARKED = 0.12  # only the issue itself shows how urgent it is
ASIDES = 0.35  # a sentence in another department's words
SECOND_ISSUES = 0.05  # mentions another department's issue: the one with place and time counts
CODE_MIXING = 0.08  # of the phrases, in another of the three languages
MISSPELLING = 0.12

LANGUAGES = ("ne", "romanised", "en")
NEPALI_DIGITS = str.maketrans("0123456789", "०१२३४५६७८९")
# As people really spell: both scripts mix up short and long vowels, s and sh, b and v.
VARIANTS = {
    "ne": "ी>ि ू>ु ँ> श>स व>ब ण>न",
    "romanised": "aa>a chh>ch sh>s bha>va ee>i ph>f dh>d",
    "en": "the> ee>e ll>l ing>in have>hav ie>ei been>ben",
}


def make_grievances(count: int = 2400, seed: int = 42) -> list[Row]:
    """`count` rows of grievance, urgency and department (label names); the same seed gives the same rows."""
    rng, phrases = random.Random(seed), _phrases()
    rows: list[Row] = []
    while len(rows) < count:
        if rows and rng.random() < REPEATS:
            again = dict(rng.choice(rows))
            if rng.random() < 0.5:
                again["grievance"] = again["grievance"].upper().replace(" ", "  ", 2)
            rows.append(again)
            continue
        urgency, department = _draw(rng, URGENCY_SHARES), _draw(rng, DEPARTMENT_SHARES)
        text = _write(rng, phrases, urgency, department)
        row = {"grievance": text, "urgency": urgency, "department": department}
        if rng.random() < LABEL_NOISE:
            row["urgency"] = "URGENT" if urgency != "URGENT" else rng.choice(["NORMAL", "HIGHLY URGENT"])
        if rng.random() < LABEL_NOISE:
            row["department"] = rng.choice([name for name in DEPARTMENT_SHARES if name != department])
        rows.append(row)
    return rows


def split_grievances(rows: list[Row], seed: int = 42, label: str = "urgency") -> dict[str, list[Row]]:
    """Train, eval and test (80/10/10), stratified by urgency, department and `label`, where there are such.

    A text and its repeats stay together in one split.
    """
    strata = [name for name in ("urgency", "department", label) if name in rows[0]]
    labels = [tuple(row[name] for name in strata) for row in rows]
    splits = split_rows([row["grievance"] for row in rows], labels, seed)
    return {name: [rows[place] for place in places] for name, places in splits.items()}


def _write(rng: random.Random, phrases: dict[str, Any], urgency: str, department: str) -> str:
    language = rng.choices(LANGUAGES, (50, 25, 25))[0]

    def say(lines: list[str]) -> str:
        spoken = language if rng.random() > CODE_MIXING else rng.choice(LANGUAGES)
        phrase = rng.choice(lines).split("|")[LANGUAGES.index(spoken)]
        phrase = phrase.replace("{n}", str(rng.randint(2, 9))).replace("{houses}", str(rng.randint(12, 90)))
        return phrase.translate(NEPALI_DIGITS) if spoken == "ne" else phrase

    level = list(URGENCY_SHARES).index(urgency)
    level = rng.choice([level] * 4 + [near for near in (level - 1, level + 1) if 0 <= near <= 2])
    issues = phrases["issues"][department][3 * level : 3 * level + 3]
    ward = str(rng.randint(1, 19))
    ward = ward.translate(NEPALI_DIGITS) if language == "ne" else ward
    where = f"{say(phrases['places'])}-{ward}, {say(phrases['landmarks'])}"
    when, what = say(phrases["times"]), say(issues)
    sentences = [f"{what} {when}, {where}" if language == "en" else f"{where} {when} {what}"]
    sentences.append(say(phrases["severities"][urgency] if rng.random() > UNMARKED else phrases["vague"]))
    if rng.random() < ASIDES:
        sentences.append(say([line for name, (line,) in phrases["asides"].items() if name != department]))
    if rng.random() < SECOND_ISSUES:
        other = rng.choice([name for name in DEPARTMENT_SHARES if name != department])
        sentences.append(say(phrases["issues"][other]))
    sentences += [say(phrases["fillers"]) for _ in range(rng.choices((0, 1, 2, 60), (600, 280, 115, 5))[0])]
    rng.shuffle(sentences)
    if rng.random() < 0.3:
        sentences.append(say(phrases["closings"]))
    opening = say(phrases["openings"]) + " " if rng.random() < 0.4 else ""
    stop = rng.choices((" । " if language == "ne" else ". ", "! ", ", ", " "), (70, 8, 12, 10))[0]
    text = opening + stop.join(sentences) + stop.rstrip() * rng.choice((0, 1, 1))
    for variant in VARIANTS[language].split():
        if rng.random() < MISSPELLING:
            usual, written = variant.split(">")
            text = text.replace(usual, written)
    return text


def _phrases() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "sample_phrases.toml").read_text(encoding="utf-8"))


def _draw(rng: random.Random, shares: dict[str, int]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]
