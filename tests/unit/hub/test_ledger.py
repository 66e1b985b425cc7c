"""The ledger on the Hub: of two who change it at once one is turned away."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import HubError
from retrain.hub.ledger import FILE, KEPT, Ledger, LedgerMovedError
from retrain.hub.run_archive import BRANCH

REPO = "city/model"


def test_what_is_written_is_read_again_also_before_the_first_release(api: HfApi) -> None:
    ledger = Ledger(api, REPO)
    assert ledger.read() == []
    ledger.write([{"id": "a"}], "a")
    ledger.write([{"id": "a"}, {"id": "b"}], "b")
    assert Ledger(api, REPO).read() == [{"id": "a"}, {"id": "b"}]
    assert api.model_info(REPO).private
    assert api.list_repo_files(REPO) == [".gitattributes"], "main holds no model by this"


def test_of_two_who_change_it_at_once_the_second_is_turned_away(api: HfApi) -> None:
    Ledger(api, REPO).write([{"id": "a"}], "a")
    first, second = Ledger(api, REPO), Ledger(api, REPO)
    first.read()
    second.read()
    first.write([{"id": "first"}], "first")
    with pytest.raises(LedgerMovedError):
        second.write([{"id": "second"}], "second")
    assert second.read() == [{"id": "first"}]
    second.write([{"id": "second"}], "second")
    assert first.read() == [{"id": "second"}]


def test_of_two_who_make_it_at_once_the_second_is_turned_away(api: HfApi) -> None:
    first, second = Ledger(api, REPO), Ledger(api, REPO)
    assert first.read() == second.read() == []
    first.write([{"id": "first"}], "first")
    with pytest.raises(LedgerMovedError):
        second.write([{"id": "second"}], "second")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, null]", b"\xff", b"[" * 100_000])
def test_what_somebody_else_has_put_there_is_left_out(api: HfApi, content: bytes) -> None:
    ledger = Ledger(api, REPO)
    ledger.write([], "empty")
    api.create_commit(REPO, [CommitOperationAdd(FILE, content)], commit_message="by hand", revision=BRANCH)
    assert ledger.read() == []


def test_the_oldest_entries_leave(api: HfApi) -> None:
    ledger = Ledger(api, REPO)
    ledger.write([{"id": str(n)} for n in range(KEPT + 1)], "many")
    assert [entry["id"] for entry in ledger.read()][:1] == ["1"]


def test_a_refusal_of_the_hub_is_said(api: HfApi, hub: LocalHub) -> None:
    hub.faults.add(path="/commit/runs", status=403, times=None)
    with pytest.raises(HubError, match="write the requests in"):
        Ledger(api, REPO).write([], "x")
