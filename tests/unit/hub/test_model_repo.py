"""The names of versions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from retrain.hub.model_repo import next_version_tag

NOW = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "v20251231_235959"),
        (["v20251231_235958", "v20240101_000000"], "v20251231_235959"),
        (["v20251231_235959"], "v20260101_000000"),
        (["v20260228_235959", "v20250101_000000"], "v20260301_000000"),
        ([None, "verified-v20990101_000000", "v2", "v99999999_9999999"], "v20251231_235959"),
    ],
    ids=["none taken", "older ones", "the same second", "a clock that was wrong", "other tags"],
)
def test_a_version_is_named_by_its_second_later_than_all_that_are_taken(
    taken: list[str | None], expected: str
) -> None:
    assert next_version_tag(NOW, taken) == expected


def test_the_second_is_that_of_utc() -> None:
    nepal = timezone(timedelta(hours=5, minutes=45))
    assert next_version_tag(datetime(2026, 1, 1, 5, 44, 59, tzinfo=nepal), []) == "v20251231_235959"
