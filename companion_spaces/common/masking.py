"""Numbers and addresses by which a person is found, replaced by what kind they are of. Names stay.

Digits are read in both scripts. A number that could be an amount or somebody's account is judged by the
words before it; a long one that nothing speaks for is masked.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import phonenumbers

from common.cleaning import URL

EMAIL, PHONE, CITIZENSHIP, PASSPORT, PAN, ACCOUNT = (
    f"[{kind}]" for kind in ("EMAIL", "PHONE", "CITIZENSHIP", "PASSPORT", "PAN", "ACCOUNT")
)
_FOLD = {ord("०") + i: str(i) for i in range(10)}  # length is kept, so that places stay what they are
_GAP = r"[\s().\-–/]{0,3}"
_RUN = rf"\d(?:{_GAP}\d)"

_EMAIL = re.compile(
    r"[A-Z0-9._%+-]+\s?@\s?[A-Z0-9-]+(?:\.[A-Z0-9-]+)+"
    r"|[A-Z0-9._%+-]+\s+at\s+(?:gmail|yahoo|hotmail|outlook|ntc)(?:\.[A-Z]{2,3}){1,2}\b",
    re.IGNORECASE | re.ASCII,
)
_DOMAIN = re.compile(
    r"(?<![\w.@])(?:[\w-]+\.)+(?:com|org|net|info|io|np)\b(?:/\S*)?"
    r"|(?<![\w.@])(?:youtu\.be|t\.me|wa\.me|bit\.ly|goo\.gl)/[^\s।]+",
    re.IGNORECASE,
)
# The shortest number of a person has four digits; most texts have none.
_SEVERAL_DIGITS = re.compile(r"\d(?:[\s().\-–/,]{0,3}\d){3}")


def _after(words: str, number: str) -> re.Pattern[str]:
    """A number that follows one of these words, with little between them; as the group `number`."""
    between = r"[^\d।!?\n]{0,25}?"
    return re.compile(rf"(?:{words}){between}(?<![\d.,])(?P<number>{number})(?![\d])", re.IGNORECASE)


def _before(words: str, number: str) -> re.Pattern[str]:
    """A number that one of these words follows, as in "6611891 नं को टेलिफोन"."""
    return re.compile(rf"(?<![\d.,])(?P<number>{number})(?!\d)[^\d।!?\n]{{0,15}}?(?:{words})", re.IGNORECASE)


# By kind, in this order; what one has taken is no other's.
_PHONES = (  # many write ाे for ो
    r"फ(?:ो|ाे)न|सम्पर्क|म(?:ो|ाे)बा[इई]ल|ह्वाट्सएप|भाइबर|phone|mobile|\btel\b|contact|whatsapp|viber|\bcall\b"
    r"|\bfon\b|sampark"
)
_MONEY = r"(?:रु\.?|रू\.?|rs\.?|npr|रकम|amount|\$)\s*:?\s*"
_UNITS = (
    r"\s*(?:रुपैयाँ|रूपैयाँ|रुपैया|लाख|करोड|अर्ब|हजार|प्रतिशत|rupees|lakh|crore|thousand|percent|%|/-"
    r"|किमि|मिटर|वर्ष|जना|लिटर|km|meters?|people|litres?|years?)"
)
_NO_PERSON = (
    re.compile(rf"{_MONEY}\d[\d,.]*", re.IGNORECASE),
    re.compile(rf"(?<![\d-])\d[\d,.]*(?={_UNITS})", re.IGNORECASE),
    re.compile(r"(?<!\d)(?:19|20)\d\d\s?[-/.]\s?\d{1,2}\s?[-/.]\s?\d{1,2}(?!\d)"),
    re.compile(r"(?<!\d)\d{1,2}\s?[-/.]\s?\d{1,2}\s?[-/.]\s?(?:19|20)\d\d(?!\d)"),
    re.compile(r"(?<![\d,])\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])"),
    re.compile(r"(?<![\d.])\d{1,3}\.\d{4,}(?![\d.])"),  # a coordinate
    re.compile(r"(?<!\d)[1-9]\d*?0{4,}(?!\d)"),  # nobody's number ends so, and many amounts do
    re.compile(
        r"(?<!\d)(?:19|20)\d\d(?=\s*(?:मा|साल|को|देखि|सम्म)(?![\u0900-\u097f])|\s*सालमा|\s*(?:BS|AD)\b)"
    ),
    _after(
        r"गुनासो|उजुरी|दर्ता|चलानी|टोकन|complaint|ticket|token|reference|ref\b|registration", r"[\d/-]{1,14}"
    ),
)
_KINDS = (
    (PHONE, re.compile(rf"(?<!\d)\(?(?:\+|00)\s?{_RUN}{{7,14}}(?!\d)")),
    (PHONE, re.compile(r"(?<![\d,])9[678](?:,\d{2}){4}(?![\d,])")),
    (CITIZENSHIP, re.compile(r"(?<![\d/-])\d{1,3}(?:\s?[-/]\s?\d{1,3}){2}\s?[-/]\s?\d{2,7}(?![\d/-])")),
    (CITIZENSHIP, _after(r"नागरिकता|ना\.?\s?प्र|citizenship|nagarikta", r"\d(?:[\s/-]{0,3}\d){3,15}")),
    (PASSPORT, _after(r"राहदानी|पासपोर्ट|passport|rahadani", r"(?:[A-Z]{1,2}[\s-]?)?\d(?:\s?\d){5,8}")),
    (PAN, _after(r"\bpan\b|(?<![\u0900-\u097f])पान\b|प्यान|स्थायी लेखा|भ्याट|\bvat\b", r"\d(?:[\s-]?\d){8}")),
    (ACCOUNT, _after(r"खाता|account|\ba/c|\bacc\b|khata|बैंक|bank", r"\d(?:[\s.-]{0,2}\d){5,21}")),
    (PHONE, re.compile(rf"(?<!\d)(?:977{_GAP})?9{_GAP}[678](?:{_GAP}\d){{8}}(?!\d)")),
    (PHONE, re.compile(rf"(?<!\d)(?:977{_GAP})?0\d{{1,2}}{_GAP}{_RUN}{{5,6}}(?!\d)")),
    (PHONE, _after(_PHONES, rf"{_RUN}{{5,12}}")),
    (PHONE, _before(_PHONES, rf"{_RUN}{{5,12}}")),
    (PASSPORT, re.compile(r"(?<![A-Za-z\d])[A-Z]{1,2}\s?\d{7}(?!\d)")),
    (ACCOUNT, re.compile(r"(?<![\d.,/-])\d(?:[\s.-]?\d){8,21}(?![\d,/-])")),
)


@dataclass(frozen=True)
class Masked:
    """A text with placeholders, and how many of which kind were put in."""

    text: str
    counts: Counter[str] = field(default_factory=Counter)


def mask(text: str) -> Masked:
    """Replace what a person is found by. What is masked already stays; names and addresses do, too.

    A clean text stays clean.
    """
    counts = Counter({"url": text.count(URL)}) if URL in text else Counter[str]()
    before = None
    while text != before:  # a word may stand before several numbers
        before = text
        folded = text.translate(_FOLD)
        if not any(c.isdigit() or c in "@." for c in folded):
            break
        taken: list[tuple[int, int, str]] = []
        for start, end, placeholder in _found(folded):
            if all(end <= first or start >= last for first, last, _ in taken):
                taken.append((start, end, placeholder))
        for start, end, placeholder in sorted(taken, reverse=True):
            if placeholder:
                text = text[:start] + placeholder + text[end:]
                counts[placeholder[1:-1].lower()] += 1
    return Masked(text, counts)


def _found(folded: str) -> Iterator[tuple[int, int, str]]:
    """Places with their placeholders, "" for what only looks like a person's number; the surest first."""
    for pattern, placeholder in ((_EMAIL, EMAIL), (_DOMAIN, URL)):
        for match in pattern.finditer(folded):
            yield *match.span(), placeholder
    if not _SEVERAL_DIGITS.search(folded):
        return
    for pattern in _NO_PERSON:
        for match in pattern.finditer(folded):
            if not (_is_mobile(match[0]) and pattern is _NO_PERSON[-1]):
                yield *match.span(), ""
    for placeholder, pattern in _KINDS:
        for match in pattern.finditer(folded):
            span = match.span("number") if "number" in pattern.groupindex else match.span()
            if placeholder != PHONE or _may_be_a_phone(folded[slice(*span)]):
                yield *span, placeholder


def _is_mobile(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return len(digits) == 10 and digits.startswith(("96", "97", "98"))


def _may_be_a_phone(found: str) -> bool:
    """By its length, or by the numbering plan: a mobile's prefix may be newer than the library knows."""
    digits = re.sub(r"\D", "", found)
    if found.startswith(("+", "00")):
        try:
            number = phonenumbers.parse("+" + digits.removeprefix("00"), None)
        except phonenumbers.NumberParseException:
            return False
        return phonenumbers.is_possible_number(number)
    return 6 <= len(digits) <= 13
