"""Numbers of persons are masked, and what only looks like them is not; on made-up cases of each kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cleaning import clean
from common.masking import mask
from tests.spaces.common.grammar import OTHERS, PERSONAL, Case, cases

PLACEHOLDERS = {"mobile": "phone", "landline": "phone"}


def is_masked(case: Case) -> bool:
    """Whether nothing of the number is left but what stands around it."""
    left = mask(clean(case.text)).text
    digits = [c for c in case.number if c.isdigit()]
    return case.number not in left and (not digits or "".join(digits[-4:]) not in left)


@pytest.mark.parametrize("kind", PERSONAL)
def test_of_each_kind_of_personal_number_99_of_100_are_masked(kind: str) -> None:
    of_kind = cases(kind)
    missed = [case for case in of_kind if not is_masked(case)]
    print(f"{kind}: {1 - len(missed) / len(of_kind):.1%} of {len(of_kind)} masked")
    assert len(missed) <= 0.01 * len(of_kind), missed[:5]


@pytest.mark.parametrize("kind", OTHERS)
def test_of_each_other_kind_of_number_1_of_100_is_masked_at_most(kind: str) -> None:
    of_kind = cases(kind)
    wrong = [case for case in of_kind if mask(clean(case.text)).text != clean(case.text)]
    print(f"{kind}: {len(wrong) / len(of_kind):.1%} of {len(of_kind)} masked")
    assert len(wrong) <= 0.01 * len(of_kind), [mask(clean(case.text)).text for case in wrong[:5]]


@pytest.mark.parametrize("kind", ["email", "mobile", "citizenship", "passport", "pan", "account"])
def test_a_placeholder_says_what_it_stands_for(kind: str) -> None:
    name = PLACEHOLDERS.get(kind, kind)
    found = [mask(clean(case.text)).counts for case in cases(kind)]
    assert sum(name in counts for counts in found) >= 0.95 * len(found)


def test_what_is_masked_stays_masked_and_clean() -> None:
    for kind in (*PERSONAL, *OTHERS):
        for case in cases(kind, 40):
            once = mask(clean(case.text)).text
            assert mask(once).text == once
            assert clean(once) == once


def test_a_number_after_a_date_is_masked_and_the_date_is_not() -> None:
    assert mask("2081-05-12 9841234567 मा").text == "2081-05-12 [PHONE] मा"


def test_a_word_after_the_number_tells_that_it_is_a_telephone() -> None:
    assert mask("निजकाे ६६१२३४५ नं काे टेलिफाेन काटियो").text == "निजकाे [PHONE] नं काे टेलिफाेन काटियो"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("टेलिफाेन नं. ४८८००२७, ४८८००२८", "टेलिफाेन नं. [PHONE], [PHONE]"),
        ("98,41,23,45,67 मा", "[PHONE] मा"),
        ("(+977) 9841234567 मा", "[PHONE] मा"),
        ("ram at gmail.com", "[EMAIL]"),
        ("ram९८@gmail.comमा", "[EMAIL]मा"),
        ("youtu.be/abc हेर्नुस्", "[URL] हेर्नुस्"),
        ("राहदानी 08123456 हरायो", "राहदानी [PASSPORT] हरायो"),
        ("पान 123456789", "पान [PAN]"),
        ("Rs 1,50,000 र 1,500,000", "Rs 1,50,000 र 1,500,000"),
    ],
)
def test_what_readers_of_real_complaints_found(text: str, masked: str) -> None:
    assert mask(text).text == masked
    assert mask(masked).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "खातामा 1500000 जम्मा भयो",
        "बजेट 500000000",
        "150000-250000",
        "85.3239605 मा",
        "नागरिकता २०७६ मा बनाएको",
    ],
)
def test_amounts_years_and_coordinates_are_nobodys(text: str) -> None:
    assert mask(text).text == text


def test_japan_is_no_tax_number() -> None:
    assert "PAN" not in mask("जापान 123456789").text


def test_names_and_addresses_are_not_masked() -> None:
    text = "सीता थापा, वडा ७, टोल मार्ग, घर नं 12"
    assert mask(text).text == text


@given(st.text(alphabet="0123456789०१२३४५६७८९+-/ .()aPAनं@:", max_size=80))
def test_any_text_can_be_masked_and_again(text: str) -> None:
    once = mask(clean(text)).text
    assert clean(once) == once


def test_a_text_of_digits_only_is_masked_in_time() -> None:
    assert mask("9 " * 5_000 + "फोन").counts
    assert mask("1-" * 5_000)
