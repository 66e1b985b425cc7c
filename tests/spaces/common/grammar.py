"""Made-up complaints with numbers in them, by a seeded grammar that knows nothing of the patterns it judges.

Each case is a text and the number in it: of a person, by kind, or of something else.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")


@dataclass(frozen=True)
class Case:
    """A text, and the part of it that is masked, or must not be."""

    text: str
    number: str


def cases(kind: str, count: int = 300, seed: int = 1) -> list[Case]:
    """Cases of a kind, half of them in Devanagari."""
    rng = random.Random(f"{kind} {seed}")
    made = []
    for place in range(count):
        nepali = place % 2 == 0
        number = KINDS[kind](rng)
        frames = FRAMES[kind][0 if nepali else 1]
        if nepali and kind not in ("email", "url"):
            number = number.translate(DEVANAGARI) if rng.random() < 0.7 else number
        text = rng.choice(frames).format(number)
        around = ("यो समस्या धेरै दिनदेखि छ।", "कृपया छिटो हेरिदिनुहोला।") if nepali else ENGLISH
        if rng.random() < 0.6:
            text = f"{rng.choice(around)} {text}"
        if rng.random() < 0.6:
            text = f"{text} {rng.choice(around)}"
        made.append(Case(text, number))
    return made


ENGLISH = ("This has been so for many days.", "Please look into it soon.", "Nobody came.")


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def _spread(rng: random.Random, digits: str, sizes: tuple[int, ...], separators: str = " -.") -> str:
    separator = rng.choice(separators)
    parts, at = [], 0
    for size in sizes:
        parts.append(digits[at : at + size])
        at += size
    return separator.join([*parts, *([digits[at:]] if digits[at:] else [])])


def _mobile(rng: random.Random) -> str:
    digits = rng.choice(("984", "985", "986", "980", "981", "982", "974", "976", "961", "988")) + _digits(
        rng, 7
    )
    written = rng.choice(
        (
            digits,
            digits,
            _spread(rng, digits, (3, 3)),
            _spread(rng, digits, (5,)),
            _spread(rng, digits, (4, 3)),
            _spread(rng, digits, (1, 1, 1, 1, 1, 1, 1, 1, 1), " "),
        )
    )
    return rng.choice(("", "", "", "+977 ", "+977-", "00977", "977-")) + written


def _landline(rng: random.Random) -> str:
    if rng.random() < 0.5:
        area, rest = "01", rng.choice("456") + _digits(rng, 6)
    else:
        area, rest = (
            rng.choice(("021", "025", "056", "061", "071", "083")),
            rng.choice("45") + _digits(rng, 5),
        )
    code = rng.choice((area, area, area, f"+977-{area[1:]}"))
    return code + rng.choice(("-", " ", "")) + rest


def _citizenship(rng: random.Random) -> str:
    district, year = rng.randint(1, 77), rng.randint(50, 80)
    return rng.choice(
        (
            f"{district:02}-{rng.randint(1, 12):02}-{year}-{_digits(rng, 5)}",
            f"{district}-0{rng.randint(1, 9)}-{year}-0{_digits(rng, 4)}",
            f"{district:02}/{rng.randint(1, 12):02}/{year}/{_digits(rng, 5)}",
        )
    )


def _citizenship_by_words(rng: random.Random) -> str:
    return rng.choice(
        (
            f"{_digits(rng, 5)}/{_digits(rng, 4)}",
            f"1{_digits(rng, 6)}",
            f"{_digits(rng, 4)}-{_digits(rng, 3)}",
        )
    )


def _amount(rng: random.Random) -> str:
    return rng.choice(
        (
            f"रु. {rng.randint(1, 9)}{_digits(rng, rng.randint(3, 9))}",
            f"Rs. {rng.randint(1, 9)},{_digits(rng, 2)},{_digits(rng, 3)}",
            f"{rng.randint(1, 9)},{_digits(rng, 2)},{_digits(rng, 2)},{_digits(rng, 3)}",
            f"{rng.randint(1, 9)}{_digits(rng, rng.randint(4, 9))} रुपैयाँ",
            f"{rng.randint(2, 99)} लाख",
            f"Rs {rng.randint(1, 9)}{_digits(rng, 9)}",
        )
    )


def _date(rng: random.Random) -> str:
    year = rng.choice((rng.randint(2040, 2085), rng.randint(1995, 2026)))
    month, day, mark = rng.randint(1, 12), rng.randint(1, 32), rng.choice("-/.")
    return rng.choice(
        (
            f"{year}{mark}{month:02}{mark}{day:02}",
            f"{year}{mark}{month}{mark}{day}",
            f"{day:02}{mark}{month:02}{mark}{year}",
            f"{year}/{(year + 1) % 100:02}",
        )
    )


def _place(rng: random.Random) -> str:
    return str(
        rng.choice((rng.randint(1, 33), rng.randint(100, 999), f"{rng.randint(1, 99)}/{rng.randint(1, 99)}"))
    )


def _name(rng: random.Random) -> str:
    return rng.choice(("sita", "ram.thapa", "hari_k", "office", "a.b.c")) + str(rng.choice(("", 7, 2045)))


HOSTS = ("gmail.com", "ntc.net.np", "city.gov.np", "yahoo.co.in")
KINDS: dict[str, Callable[[random.Random], str]] = {
    "email": lambda rng: (
        f"{_name(rng)}@{rng.choice(('gmail.com', 'ntc.net.np', 'city.gov.np', 'yahoo.co.in'))}"
    ),
    "url": lambda rng: (
        rng.choice(("https://", "http://", "www.", ""))
        + rng.choice(("facebook.com", "city.gov.np", "news.example.org", "onlinekhabar.com"))
        + rng.choice(("", "/a", "/2081/05?id=77"))
    ),
    "mobile": _mobile,
    "landline": _landline,
    "citizenship": _citizenship,
    "citizenship by words": _citizenship_by_words,
    "passport": lambda rng: rng.choice(("PA", "BA", "N", "A")) + _digits(rng, 7),
    "passport by words": lambda rng: "0" + _digits(rng, 7),
    "pan": lambda rng: rng.choice("36") + _digits(rng, 8),
    "account": lambda rng: rng.choice(
        (_digits(rng, 14), _digits(rng, 16), _spread(rng, _digits(rng, 14), (4, 4)), _digits(rng, 10))
    ),
    "amount": _amount,
    "date": _date,
    "ward": _place,
    "year": lambda rng: str(rng.choice((rng.randint(2030, 2085), rng.randint(1990, 2026)))),
    "time": lambda rng: f"{rng.randint(1, 12)}:{rng.randint(0, 59):02}",
    "count": lambda rng: str(rng.randint(2, 90_000)),
    "complaint": lambda rng: rng.choice((_digits(rng, 6), "2081-" + _digits(rng, 4), "2" + _digits(rng, 8))),
    "meter": lambda rng: f"{rng.randint(1, 99)}.{rng.randint(1, 99)}",
}
FRAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "email": (("इमेल {} मा पठाउनुहोस्", "मेरो ठेगाना {} हो।"), ("Write to {} please", "my mail is {}.")),
    "url": (("हेर्नुहोस् {} मा", "लिङ्क {} छ"), ("See {} for photos", "it is on {}")),
    "mobile": (
        ("मेरो नम्बर {} हो", "सम्पर्क {}", "{} मा फोन गर्नुहोस्", "वडा 5 बाट, मोबाइल {}।"),
        ("Call me on {}", "my number is {}", "mobile: {}, ward 7", "{} is my phone"),
    ),
    "landline": (
        ("कार्यालयको फोन {} लाग्दैन", "फोन नं. {}", "{} मा कसैले उठाउँदैन"),
        ("the office line {} is dead", "Tel {}", "nobody answers at {}"),
    ),
    "citizenship": (
        ("नागरिकता नं. {} को प्रतिलिपि", "मेरो {} नम्बरको नागरिकता हरायो"),
        ("citizenship no {} was refused", "my card {} was lost"),
    ),
    "citizenship by words": (
        ("नागरिकता नं {} भएको व्यक्ति", "ना.प्र.नं. {} को सिफारिस"),
        ("citizenship number {} is wrong", "Citizenship no. {}"),
    ),
    "passport": (
        ("राहदानी नं {} हरायो", "पासपोर्ट {} आएन"),
        ("passport {} did not come", "my passport no. is {}"),
    ),
    "passport by words": (
        ("राहदानी नम्बर {} हरायो", "पासपोर्ट {} आएन"),
        ("passport {} is late", "Passport: {}"),
    ),
    "pan": (("पान नं {} मा कर", "स्थायी लेखा नम्बर {} को कर"), ("PAN {} was charged twice", "PAN no. {}")),
    "account": (
        ("खाता नं {} मा पैसा आएन", "बैंक खाता {}"),
        ("account {} got no allowance", "bank a/c no {} is closed"),
    ),
    "amount": (("{} घुस माग्यो", "जरिवाना {} तिरेँ"), ("asked {} as a bribe", "I paid {} in fines")),
    "date": (("मिति {} देखि पानी छैन", "{} मा दर्ता गरेको"), ("no water since {}", "it fell on {} at night")),
    "ward": (
        ("वडा नं. {} को सडक", "घर नं {} अगाडि", "सडक नं. {} मा"),
        ("ward no. {} road", "house {} in ward 4"),
    ),
    "year": (("{} सालदेखि बाटो बनेन", "सन् {} मा"), ("since {} no road was built", "in {} they promised")),
    "time": (("बिहान {} बजे", "{} मा बत्ती गयो"), ("at {} pm", "from {} on no light")),
    "count": (("{} जना बिरामी छन्", "{} घर डुबे"), ("{} people are ill", "{} houses are flooded")),
    "complaint": (
        ("गुनासो नं {} को जवाफ आएन", "दर्ता नं. {} के भयो"),
        ("complaint no {} has no answer", "ticket {} was closed"),
    ),
    "meter": (("{} किमि टाढा", "{} मिटर गहिरो"), ("{} km away", "{} meters deep")),
}
PERSONAL = tuple(KINDS)[:10]
OTHERS = tuple(KINDS)[10:]
