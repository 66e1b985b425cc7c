"""What is no part of a text's words: markup, addresses of pages, and characters that nobody sees.

Data sets are built from clean texts.
"""

import html
import re
import sys
import unicodedata
from functools import cache
from html.entities import html5

# As it stands in a clean text in place of a page's address.
URL = "[URL]"
# What is hidden, and where it ends.
_HIDDEN = tuple(
    (re.compile(begin + ".*?" + end, re.IGNORECASE | re.DOTALL), re.compile(end, re.IGNORECASE))
    for begin, end in (
        (r"<script\b[^<>]*>", r"</script\s*>"),
        (r"<style\b[^<>]*>", r"</style\s*>"),
        ("<!--", "-->"),
    )
)
# Elements of HTML and of Word, with attributes as they have them: placeholders such as <phone> are words, and
# in "a<b and c>d" nothing is a tag.
_ELEMENTS = (
    "a|abbr|address|article|aside|audio|b|big|blockquote|body|br|button|caption|center|cite|code|col|colgroup|dd|"
    "del|details|dfn|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|h[1-6]|head|"
    "header|hr|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark|meta|nav|noscript|object|ol|"
    "option|p|param|picture|pre|q|s|samp|script|section|select|small|source|span|strike|strong|style|sub|summary|"
    "sup|svg|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|var|video|wbr|o:p|st1:\\w+|v:\\w+|w:\\w+"
)
_VALUE = r"""\s*=\s*(?:"[^"<]*"|'[^'<]*'|[^\s"'<>]+)"""
_NO_VALUE = r"\s+(?:async|checked|controls|defer|disabled|hidden|nowrap|noshade|readonly|required|selected)\b"
_TAG = re.compile(rf"</?(?:{_ELEMENTS})(?:\s+[\w:.-]+{_VALUE}|{_NO_VALUE})*\s*/?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
# Without what a sentence puts behind it.
_ADDRESS = re.compile(r"""(?:https?://|ftp://|\bwww\.)[^\s<>।]*[^\s<>।.,;:!?'"’”)\]}]""", re.IGNORECASE)
# They join and part letters of Devanagari, which is read otherwise without them; elsewhere they do nothing.
_JOINERS = "\u200c\u200d"
_STRAY_JOINER = re.compile(f"(?<![\u0900-\u097f])[{_JOINERS}]|[{_JOINERS}](?![\u0900-\u097f])")
# What is not seen and has another category than Cf: fillers, the empty Braille cell, variation selectors.
_UNSEEN = (
    *(0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
)


def clean(text: str) -> str:
    """A text without HTML, invisible and control characters, in NFC, with single blanks.

    The address of a page becomes URL. A clean text stays what it is; what has no words becomes "".
    """
    before = None
    while text != before:  # an entity may hide a tag, which may hide an entity
        before = text
        text = text.translate(_invisible())
        if "\u200c" in text or "\u200d" in text:
            text = _STRAY_JOINER.sub("", text)
        if "<" in text:
            text = _TAG.sub(" ", _without_hidden(text))
        if "&" in text:
            text = _ENTITY.sub(_decoded, text)
        if "://" in text or "www." in text.lower():
            text = _ADDRESS.sub(f" {URL} ", text)
        text = " ".join(unicodedata.normalize("NFC", text).split())
    return text


def _without_hidden(text: str) -> str:
    """A text without scripts, styles and comments; behind the last end there is none to look for."""
    for pattern, end in _HIDDEN:
        last = max((match.end() for match in end.finditer(text)), default=0)
        text = pattern.sub(" ", text[:last]) + text[last:]
    return text


def _decoded(entity: re.Match[str]) -> str:
    """What an entity stands for; html.unescape would read the beginning of a word as one."""
    name = entity[0][1:]
    return html.unescape(entity[0]) if name.startswith("#") else html5.get(name, entity[0])


@cache
def _invisible() -> dict[int, None]:
    """Format and control characters, but for white space and joiners; and what is not seen otherwise."""
    named = (chr(code) for code in range(sys.maxunicode + 1) if not 0x20000 <= code < 0xE0000)
    found = (c for c in named if unicodedata.category(c) in ("Cf", "Cc") and not c.isspace())
    return dict.fromkeys([*(ord(c) for c in found if c not in _JOINERS), *_UNSEEN])
