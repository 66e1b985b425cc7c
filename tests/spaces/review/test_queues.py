"""Which text is shown next, from plain values."""

from typing import Any

from queues import PATTERN, corrections_in_order, key, next_text


def text(place: str, margin: float, label: str = "NORMAL") -> dict[str, Any]:
    return {"id": place, "text": f"text number {place} {place * 5}", "margin": margin, "label": label}


def correction(place: str, scores: dict[str, float], label: str, *by: str) -> dict[str, Any]:
    return {"id": place, "text": place * 9, "labels": {"urgency": label}, "scores": scores, "by": by}


TEXTS = [text(chr(97 + n), 0.9 - n / 100) for n in range(20)]


def test_half_are_chosen_by_margin_a_fifth_by_suspected_errors_and_the_rest_by_chance() -> None:
    assert [PATTERN.count(each) for each in ("margin", "label_error", "chance")] == [5, 2, 3]
    wrong = {key(TEXTS[3]["text"]): "URGENT", key(TEXTS[4]["text"]): "NORMAL"}
    chosen = [next_text(TEXTS, place, wrong) for place in range(10)]
    assert [why for _, why in filter(None, chosen)] == list(PATTERN)
    assert {item["id"] for item, why in filter(None, chosen) if why == "margin"} == {"t"}
    assert {item["id"] for item, why in filter(None, chosen) if why == "label_error"} == {"d"}


def test_the_draw_by_chance_knows_no_answer() -> None:
    place = PATTERN.index("chance")
    first = next_text(TEXTS, place, {})
    others = [each | {"margin": 0.0, "label": "URGENT"} for each in TEXTS]
    second = next_text(others, place, {})
    assert first
    assert second
    assert first[0]["id"] == second[0]["id"]


def test_without_a_suspected_error_the_margin_decides_and_without_texts_nothing() -> None:
    found = next_text(TEXTS, PATTERN.index("label_error"), {})
    assert found
    assert (found[0]["id"], found[1]) == ("t", "margin")
    assert next_text([], 0, {}) is None


def test_what_is_nearly_equal_to_a_labelled_text_is_not_asked_for() -> None:
    texts = [
        text("a", 0.1) | {"text": "तीन  दिनदेखि खानेपानी आएको छैन ।"},
        text("b", 0.2) | {"text": "सडकमा खाल्डो परेको छ"},
    ]
    labelled = {key("तीन दिनदेखि खानेपानी आएको छैन"): "NORMAL"}
    found = next_text(texts, PATTERN.index("margin"), labelled)
    assert found
    assert found[0]["id"] == "b"
    assert next_text(texts[:1], PATTERN.index("margin"), labelled) is None


def test_corrections_come_by_how_sure_the_model_was_against_them() -> None:
    doubtful = correction("a", {"NORMAL": 0.95, "URGENT": 0.05}, "URGENT")
    close = correction("b", {"NORMAL": 0.5, "URGENT": 0.5}, "URGENT")
    unknown = correction("c", {}, "URGENT")
    mine = correction("d", {"NORMAL": 1.0}, "URGENT", "ram")
    shown = corrections_in_order([unknown, close, mine, doubtful], "ram")
    assert [item["id"] for item in shown] == ["a", "c", "b"] or [item["id"] for item in shown] == [
        "a",
        "b",
        "c",
    ]
    assert "d" in [item["id"] for item in corrections_in_order([mine], "sita")]
