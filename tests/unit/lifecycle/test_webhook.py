"""Whether a run that a webhook has started is due: only ours, and only for a new version of the data set."""

import json
from typing import Any

import pytest

from retrain.errors import SettingsError
from retrain.lifecycle.webhook import Delivery, why_not_due

SECRET = "s" * 64
NEW = {"ref": "refs/tags/v20250201_000000", "oldSha": None, "newSha": "b" * 40}


def payload(*refs: dict[str, Any], kind: str = "dataset", name: str = "city/data") -> str:
    event = {"action": "update", "scope": "repo.content"}
    return json.dumps({"event": event, "repo": {"type": kind, "name": name}, "updatedRefs": refs})


def due(text: str | None, *trained: str, secret: str = SECRET, expected: str = SECRET) -> str | None:
    return why_not_due(Delivery(text, secret, expected), "city/data", trained)


def test_a_new_version_is_due() -> None:
    assert due(payload(NEW)) is None
    assert due(payload(NEW), "v20250101_000000") is None
    assert due(payload({"ref": "refs/heads/main", "oldSha": "a", "newSha": "b"}, NEW)) is None
    assert due(payload(NEW, name="City/Data")) is None  # the Hub knows no case


@pytest.mark.parametrize("secret", ["", "x", SECRET + "x", SECRET[:-1], "ключ", "\udcff"])
def test_a_wrong_secret_starts_nothing_and_is_not_shown(secret: str) -> None:
    with pytest.raises(SettingsError, match="with a secret that is not its RETRAIN_WEBHOOK_SECRET") as caught:
        due(payload(NEW), secret=secret)
    assert SECRET not in str(caught.value)


def test_a_webhook_that_somebody_else_made_starts_nothing() -> None:
    with pytest.raises(SettingsError, match="no secret RETRAIN_WEBHOOK_SECRET to know it by"):
        due(payload(NEW), secret="", expected="")


@pytest.mark.parametrize(
    ("kind", "name"), [("dataset", "city/other"), ("model", "city/data"), ("dataset", "evil/city/data")]
)
def test_another_repository_is_not_due(kind: str, name: str) -> None:
    assert "not about the data set city/data" in str(due(payload(NEW, kind=kind, name=name)))


@pytest.mark.parametrize(
    "ref",
    [
        {"ref": "refs/heads/main", "oldSha": "a" * 40, "newSha": "b" * 40},
        {"ref": "refs/heads/v20250201_000000", "oldSha": None, "newSha": "b" * 40},
        {"ref": "refs/pr/1", "oldSha": None, "newSha": "b" * 40},
        {"ref": "refs/tags/mine", "oldSha": None, "newSha": "b" * 40},
        {"ref": "refs/tags/v20259999_000000", "oldSha": None, "newSha": "b" * 40},
        NEW | {"newSha": None, "oldSha": "b" * 40},  # deleted
        NEW | {"oldSha": "a" * 40},  # moved
    ],
    ids=lambda ref: f"{ref['ref']} {str(ref['oldSha'])[:1]} {str(ref['newSha'])[:1]}",
)
def test_a_branch_or_a_tag_that_is_no_new_version_is_not_due(ref: dict[str, Any]) -> None:
    assert due(payload(ref)) == "The webhook is about a change of city/data that is no new version."


def test_a_change_of_something_else_than_refs_is_not_due() -> None:
    assert "no new version" in str(due(payload()))
    without = json.dumps(
        {"repo": {"type": "dataset", "name": "city/data"}, "updatedConfig": {"private": True}}
    )
    assert "no new version" in str(due(without))


def test_a_replay_is_not_due() -> None:
    said = due(payload(NEW), "v20240101_000000", "v20250201_000000", "v20250301_000000")
    assert said == "The webhook is about v20250201_000000, on which a run has already decided."
    later = {**NEW, "ref": "refs/tags/v20250301_000000"}
    assert due(payload(NEW, later), "v20250201_000000") is None


def test_a_version_of_a_clock_that_was_ahead_does_not_stop_the_later_ones() -> None:
    assert due(payload(NEW), "v29990101_000000") is None


def test_without_a_delivery_nothing_is_due_where_a_webhook_starts_runs() -> None:
    assert "only a webhook starts a run here, and none has" in str(due(None))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "null", "{}", '{"repo": 1}', '{"repo": {"type": "dataset"}}', "[" * 100_000]
)
def test_a_payload_that_is_none_of_the_hub_starts_nothing(text: str) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_PAYLOAD is no payload of the Hub"):
        due(text)


def test_a_delivery_is_found_in_the_environment() -> None:
    assert Delivery.found_in({"LABEL": "urgency"}) is None
    given = {"WEBHOOK_PAYLOAD": "{}", "WEBHOOK_SECRET": "a", "RETRAIN_WEBHOOK_SECRET": "b\n"}
    found = Delivery.found_in(given)
    assert found == Delivery("{}", "a", "b")
    assert found is not None
    assert found.secrets == ["a", "b"]
    assert repr(found) == "Delivery()"
    assert Delivery.found_in({"RETRAIN_WEBHOOK_SECRET": "b"}) == Delivery(None, "", "b")
