"""Clean texts: what leaves, what stays, and that a clean text is clean."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cleaning import clean
from retrain.dataset.texts import normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a  hole\n in\tthe road ", "a hole in the road"),
        ("<p>सडकमा <b>खाल्डो</b></p>", "सडकमा खाल्डो"),
        ("<script>alert('x')</script>no water", "no water"),
        ("<STYLE type='a'>p { }</style >no water<!-- note -->", "no water"),
        ("water &amp; light &lt; 5", "water & light < 5"),
        ("&lt;b&gt;no water&lt;/b&gt;", "no water"),
        ("depth < 5 m and width > 3 m", "depth < 5 m and width > 3 m"),
        ("see https://example.com/a?b=c#d now", "see [URL] now"),
        ("WWW.example.com", "[URL]"),
        (
            "zero\u200bwidth \ufeffmark soft\u00adhyphen \u202eturned\u202c",
            "zerowidth mark softhyphen turned",
        ),
        ("क्\u200dष र श्\u200cर", "क्\u200dष र श्\u200cर"),
        ("a\u200db \u200dक", "ab क"),
        ("bell\x07 and null\x00", "bell and null"),
        ("cafe\u0301", "café"),
        ("\ufe0f\u3164 \u200b", ""),
        ("<br><br/>&nbsp;", ""),
        ("call <phone> or <email>", "call <phone> or <email>"),
        ("a<b and c>d", "a<b and c>d"),
        ('<a href="x>y" target=_blank>z</a>', "z"),
        ("<input disabled><o:p></o:p>x<font color='red'>y</font>", "x y"),
        ("fish&notes &notanentity; &#2325;", "fish&notes &notanentity; क"),
        ("see https://example.com/a. Then", "see [URL] . Then"),
        ("(https://example.com/a) र https://example.com/b।", "( [URL] ) र [URL] ।"),
    ],
)
def test_what_is_no_word_leaves_and_what_is_one_stays(text: str, expected: str) -> None:
    assert clean(text) == expected


FILLERS = (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10))
PIECES = st.sampled_from(
    ["<", ">", "&", "lt;", "&lt;", "&#60;", "b", "script", "</", "/", "http://", "www.", "[URL]", "\u200d",
     "\u200b", "क", "्", "ष", "\u0301", "e", " ", "\n", "\x00", "!--", "-->", ";", "&#8203;", "\u1160", "가"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join)))
def test_a_clean_text_is_clean(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert once == " ".join(once.split())
    assert unicodedata.is_normalized("NFC", once)


def test_a_text_of_many_tags_that_never_end_is_cleaned_in_time() -> None:
    """Patterns that try every end for every beginning would take hours; the test's time-out is minutes."""
    assert clean("<a " * 50_000).startswith("<a <a")
    assert clean("<script>" * 20_000) == ""
    assert clean("<!--" * 50_000).startswith("<!--")


def test_what_is_not_seen_is_what_equal_texts_may_differ_by() -> None:
    """Two texts that are equal to the data set's keys differ in nothing that cleaning leaves to be seen."""
    named = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cf", "Cc"))
    unseen = [c for c in (*named, *map(chr, FILLERS)) if not c.isspace()]
    assert [c for c in unseen if clean(f"a{c}b") != "ab" or normalise(f"a{c}b") != "ab"] == []
