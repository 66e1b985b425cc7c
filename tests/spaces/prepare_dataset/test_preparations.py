"""Whole preparations as processes, from a real PostgreSQL to a Hub: what is published, and what never is."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rehearsal.city_database import Cluster, add_complaints, add_corrections
from rehearsal.world import push_splits
from retrain.hub.dataset_repo import parquet_name
from retrain.journal import Journal
from retrain.lifecycle.status_page import StatusPage
from tests.conftest import CITY, Run, free_port
from tests.spaces.prepare_dataset.conftest import MONDAY, PROGRAM, Preparations, complaints

SECRET_WORDS = "गोप्य नागरिक को आफ्नै कथा"


def corrections_of(rows: Iterable[dict[str, Any]], urgency: str, day: int = 2) -> list[dict[str, Any]]:
    return [
        {
            "complaint_id": row["id"],
            "correct_urgency": urgency,
            "reviewed": True,
            "reviewed_at": MONDAY + timedelta(days=day, seconds=i),
        }
        for i, row in enumerate(rows)
    ]


def labels_of(rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    return {row["grievance"]: row["label"] for part in rows.values() for row in part}


def splits_of(rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    return {row["grievance"]: split for split, part in rows.items() for row in part}


def logs(run: Run) -> str:
    """All that a run says anywhere."""
    return run.output + "".join(
        file.read_text(errors="replace") for file in run.folder.rglob("*") if file.is_file()
    )


def as_loaded(preparations: Preparations, revision: str) -> dict[str, Any]:
    """What the retrain job reads; in a process of its own, as `datasets` reads HF_ENDPOINT once."""
    script = (
        "import dataclasses, json, os, sys; from configs import urgency2id;"
        "from load_dataset import load_splits;"
        "from retrain.hub.client import connect; from retrain.hub.dataset_repo import DatasetRepo;"
        "repo = DatasetRepo(connect(os.environ['HF_TOKEN']), 'city/grievances-urgency');"
        "splits = load_splits(repo, urgency2id, sys.argv[1], 'urgency');"
        "print(json.dumps(dataclasses.asdict(splits.info)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, revision],
        env=preparations.settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_a_first_version_is_whole_and_loads_with_the_eyes_of_the_retrain_job(
    preparations: Preparations, database: str
) -> None:
    add_complaints(database, complaints(800))
    run = preparations.run(DATABASE_URL=database)
    assert (run.exit_code, run.record["outcome"]) == (0, "published"), run.output
    repo, (tag,) = preparations.repo(), preparations.tags()
    assert repo.is_private()
    info = as_loaded(preparations, repo.revision(tag))
    assert info["version_tag"] == tag
    assert info["removed_from_train"] == {"eval": 0, "test": 0}
    metadata = preparations.metadata()
    assert metadata["num_samples"] == sum(metadata["splits"].values())
    assert metadata["splits"] == info["split_sizes"]
    assert metadata["label_counts"] == info["label_counts"]
    assert "# Grievances by urgency" in repo.card(repo.revision())
    (prepared,) = run.record["prepared"]
    assert (prepared["version_tag"], prepared["added"]) == (tag, metadata["num_samples"])


def test_corrections_since_the_last_version_make_the_next_one(
    preparations: Preparations, database: str
) -> None:
    first, more = complaints(800), complaints(100, first=800)
    add_complaints(database, first)
    preparations.run(DATABASE_URL=database)
    before = preparations.rows()
    add_complaints(database, more)
    add_corrections(database, corrections_of(first[:100], "HIGHLY URGENT"))
    run = preparations.run(DATABASE_URL=database, MAX_LABEL_SHIFT="9")
    assert run.record["outcome"] == "published", run.output
    after = preparations.rows()
    assert splits_of(before).items() <= splits_of(after).items()
    corrected = {row["message"] for row in first[:100]} & labels_of(before).keys()
    assert {labels_of(after)[text] for text in corrected} == {"HIGHLY URGENT"}
    old, new = preparations.tags()
    assert preparations.metadata()["previous_version"] == old
    assert [each["version_tag"] for each in preparations.metadata()["history"]] == [old, new]


def test_nothing_new_is_unchanged_and_costs_no_version(preparations: Preparations, database: str) -> None:
    add_complaints(database, complaints(800))
    preparations.run(DATABASE_URL=database)
    run = preparations.run(DATABASE_URL=database)
    assert (run.exit_code, run.record["outcome"]) == (0, "unchanged"), run.output
    assert len(preparations.tags()) == 1


def test_the_same_source_gives_the_same_bytes(preparations: Preparations, database: str) -> None:
    add_complaints(database, complaints(800))
    for name in ("one", "other"):
        preparations.run(DATABASE_URL=database, DATASET_REPO_ID=f"city/{name}")
    found = [
        {
            each.path: each.lfs.sha256
            for each in preparations.api.list_repo_tree(f"city/{name}", "data", repo_type="dataset")
        }
        for name in ("one", "other")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_both_label_sets_are_made_in_one_run_each_from_its_own_labels(
    preparations: Preparations, database: str
) -> None:
    rows = complaints(800)
    add_complaints(database, rows)
    preparations.run(DATABASE_URL=database, LABEL="urgency,department")
    departments = labels_of(preparations.rows("department"))
    add_corrections(database, corrections_of(rows[:150], "HIGHLY URGENT"))
    run = preparations.run(DATABASE_URL=database, LABEL="urgency,department", MAX_LABEL_SHIFT="9")
    assert {each["label"]: each["outcome"] for each in run.record["prepared"]} == {
        "urgency": "published",
        "department": "unchanged",
    }
    assert labels_of(preparations.rows("department")) == departments


def test_a_failure_of_one_label_set_does_not_stop_the_other(
    preparations: Preparations, database: str
) -> None:
    add_complaints(database, complaints(800))
    preparations.hub.faults.add(method="POST", path="grievances-urgency/commit/", status=403, times=None)
    run = preparations.run(DATABASE_URL=database, LABEL="urgency,department")
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert len(preparations.tags("department")) == 1
    assert preparations.tags("urgency") == []


def test_an_unknown_label_is_named_and_nothing_is_published(
    preparations: Preparations, database: str
) -> None:
    rows = complaints(800)
    rows[7]["urgency"] = "ASAP"
    add_complaints(database, rows)
    run = preparations.run(DATABASE_URL=database)
    assert (run.exit_code, run.record["outcome"]) == (1, "withheld")
    assert "1 labels are none of urgency: 'ASAP' (1)" in run.record["reasons"][0]
    assert not preparations.api.repo_exists("city/grievances-urgency", repo_type="dataset")


def test_what_nobody_reviewed_is_never_published(preparations: Preparations, database: str) -> None:
    rows = complaints(800)
    add_complaints(database, rows)
    unreviewed = corrections_of(rows[:300], "HIGHLY URGENT")
    for place, each in enumerate(unreviewed):
        each["reviewed"] = None if place % 2 else False
    add_corrections(database, unreviewed)
    preparations.run(DATABASE_URL=database)
    known = {row["message"]: row["urgency"] for row in rows}
    published = labels_of(preparations.rows())
    assert all(known.get(text, label) == label for text, label in published.items())


def test_a_data_set_pushed_by_hand_is_built_on_with_its_splits(
    preparations: Preparations, database: str
) -> None:
    rows = complaints(400, seed=7)
    places = ["train", "train", "train", "eval", "test"]
    by_hand: dict[str, list[dict[str, Any]]] = {"train": [], "eval": [], "test": []}
    for place, row in enumerate(rows):
        by_hand[places[place % 5]].append({"grievance": row["message"], "label": row["urgency"]})
    repo_id = "city/grievances-urgency"
    push_splits(preparations.api, repo_id, by_hand, "v20250101_000000")
    preparations.api.upload_file(
        path_or_fileobj=b"---\nlicense: mit\n---\n# Ours\nAsk Sita.\n",
        path_in_repo="README.md",
        repo_id=repo_id,
        repo_type="dataset",
    )
    add_complaints(database, complaints(300))
    run = preparations.run(DATABASE_URL=database)
    assert run.record["outcome"] == "published", run.output
    kept = preparations.rows()
    for split in ("eval", "test"):
        texts = [row["grievance"] for row in by_hand[split]]
        assert len([row for row in kept[split] if row["source"] == "adopted"]) <= len(texts)
    before = {row["grievance"]: split for split, part in by_hand.items() for row in part}
    after = splits_of(kept)
    moved = {text for text, split in before.items() if after.get(text, split) != split}
    assert not moved
    assert "Ask Sita." in preparations.repo().card(preparations.repo().revision())


def test_a_version_that_somebody_edited_by_hand_is_built_on_as_it_stands(
    preparations: Preparations, database: str
) -> None:
    add_complaints(database, complaints(800))
    preparations.run(DATABASE_URL=database)
    rows = preparations.rows()
    rows["train"] = rows["train"][:-10]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows["train"]), file)
    preparations.api.upload_file(
        path_or_fileobj=file.getvalue(),
        path_in_repo=parquet_name("train"),
        repo_id="city/grievances-urgency",
        repo_type="dataset",
    )
    add_complaints(database, complaints(200, first=800))
    run = preparations.run(DATABASE_URL=database)
    assert run.record["outcome"] == "published", run.output
    assert "edited by hand" in run.record["warnings"][0]["message"]


def test_another_split_key_is_refused(preparations: Preparations, database: str) -> None:
    add_complaints(database, complaints(800))
    preparations.run(DATABASE_URL=database)
    run = preparations.run(DATABASE_URL=database, SPLIT_KEY="another_key_0123456789")
    assert run.record["outcome"] == "failed"
    assert "SPLIT_KEY is not the one" in run.record["reasons"][0]


def test_who_asked_to_be_forgotten_leaves_the_next_version(preparations: Preparations, database: str) -> None:
    rows = complaints(800)
    add_complaints(database, rows)
    preparations.run(DATABASE_URL=database)
    wanted = next(iter(preparations.rows()["test"]))["grievance"]
    number = next(row["id"] for row in rows if row["message"] == wanted)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE erasure_requests (complaint_id bigint)")
        connection.execute("INSERT INTO erasure_requests VALUES (%s)", [number])
    run = preparations.run(DATABASE_URL=database)
    assert run.record["outcome"] == "published", run.output
    assert wanted not in splits_of(preparations.rows())
    assert wanted not in logs(run)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/repos/create"),
        ("POST", "/preupload/"),
        ("POST", "/info/lfs/"),
        ("POST", "/commit/"),
        ("POST", "/tag/"),
    ],
)
def test_a_push_that_is_cut_off_is_made_whole_by_the_next_run(
    preparations: Preparations, database: str, method: str, path: str
) -> None:
    add_complaints(database, complaints(800))
    held = preparations.hub.faults.add(method=method, path=path, delay=60)
    job = preparations.start(DATABASE_URL=database)
    assert held.met.wait(90)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    preparations.hub.faults.clear()
    run = preparations.run(DATABASE_URL=database)
    assert run.exit_code == 0, run.output
    (tag,) = preparations.tags()
    assert preparations.metadata()["version_tag"] == tag
    assert preparations.repo().version_tag(preparations.repo().revision()) == tag


@pytest.mark.parametrize("path", ["/commit/", "/tag/"])
def test_an_answer_that_is_lost_is_found(preparations: Preparations, database: str, path: str) -> None:
    add_complaints(database, complaints(800))
    preparations.hub.faults.add(method="POST", path=path, lose_answer=True)
    run = preparations.run(DATABASE_URL=database)
    assert run.record["outcome"] == "published", run.output
    assert len(preparations.tags()) == 1


def test_of_two_preparations_at_once_one_publishes_and_the_other_says_so(
    preparations: Preparations, database: str
) -> None:
    add_complaints(database, complaints(800))
    preparations.run(DATABASE_URL=database)
    add_complaints(database, complaints(300, first=800))
    held = preparations.hub.faults.add(method="POST", path="/commit/", delay=60)
    slow = preparations.start(DATABASE_URL=database)
    assert held.met.wait(60)
    quick = preparations.run(DATABASE_URL=database, PORT=str(free_port()))
    assert quick.record["outcome"] == "published", quick.output
    held.released.set()
    output, _ = slow.communicate(timeout=120)
    assert slow.returncode == 1
    assert "has moved from" in output
    assert len(preparations.tags()) == 2


def test_an_interrupted_preparation_publishes_nothing_and_says_so(
    preparations: Preparations, database: str
) -> None:
    add_complaints(database, complaints(800))
    held = preparations.hub.faults.add(method="POST", path="/commit/", delay=60)
    job = preparations.start(DATABASE_URL=database)
    assert held.met.wait(60)
    job.send_signal(signal.SIGTERM)
    run = preparations.end(job)
    assert (run.exit_code, run.record["outcome"]) == (128 + signal.SIGTERM, "interrupted")
    held.released.set()


def test_a_server_that_is_away_fails_the_run_and_publishes_nothing(
    preparations: Preparations,
) -> None:
    with Cluster() as own:
        database = own.create("city")
        add_complaints(database, complaints(800))
        held = preparations.hub.faults.add(method="GET", path="/api/whoami", delay=60)
        job = preparations.start(DATABASE_URL=database)
        assert held.met.wait(60)
        own.kill()
        held.released.set()
        run = preparations.end(job)
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert "no answer from the database" in run.record["reasons"][0]
    assert not preparations.api.repo_exists("city/grievances-urgency", repo_type="dataset")


def test_no_text_and_no_secret_is_said_anywhere(preparations: Preparations, database: str) -> None:
    rows = complaints(800)
    hostile = [
        SECRET_WORDS,
        f"{SECRET_WORDS}'; DROP TABLE complaints; --",
        f"<script>alert('{SECRET_WORDS}')</script>",
        f"{SECRET_WORDS} " * 5_000,
        "\u200b\ufeff",
        "",
        None,
    ]
    add_complaints(
        database,
        [*rows, *({"id": 5000 + i, "message": text, "urgency": "URGENT"} for i, text in enumerate(hostile))],
    )
    add_corrections(database, [{"complaint_id": 5000, "correct_urgency": SECRET_WORDS, "reviewed": True}])
    run = preparations.run(DATABASE_URL=database)
    assert run.record["outcome"] == "withheld"
    assert SECRET_WORDS not in logs(run)
    assert "password_of_the_city" not in logs(run)
    assert CITY not in logs(run)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM complaints").fetchone() == (807,)


def test_a_clock_that_was_put_back_loses_nothing(preparations: Preparations, database: str) -> None:
    """A watermark in the time to come would hide all that is reviewed until then."""
    rows = complaints(800)
    rows[0]["created_at"] = MONDAY.replace(year=2099)
    add_complaints(database, rows)
    preparations.run(DATABASE_URL=database)
    assert preparations.metadata()["watermark"]["complaints"] < "2027"


def test_a_wrong_setting_is_said_before_anything_is_read(preparations: Preparations) -> None:
    run = preparations.run(AUDIT_PROBABILITY="7")
    assert (run.exit_code, run.record["outcome"]) == (2, "bad_settings")
    said = " ".join(run.record["reasons"])
    assert "AUDIT_PROBABILITY" in said
    assert "Set either DATABASE_URL or SOURCE" in said


def test_the_hash_of_a_text_is_what_forget_takes(preparations: Preparations, database: str) -> None:
    add_complaints(database, complaints(800))
    preparations.run(DATABASE_URL=database)
    text = preparations.rows()["train"][0]["grievance"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "hash"],
        input=f"  {text} \n",
        env=preparations.settings | {"DATABASE_URL": database},
        capture_output=True,
        text=True,
        check=True,
    )
    run = preparations.run(DATABASE_URL=database, FORGET=done.stdout.strip())
    assert run.record["outcome"] == "published", run.output
    assert text not in splits_of(preparations.rows())


def test_the_page_and_the_summary_say_what_was_made(preparations: Preparations, database: str) -> None:
    add_complaints(database, complaints(800))
    run = preparations.run(DATABASE_URL=database)
    assert [stage["name"] for stage in run.record["stages"]] == [
        "read the data sets",
        "read the complaints",
        "find near-duplicates",
        "publish urgency",
    ]
    assert "groups of nearly equal texts" in run.output
    page = StatusPage(Journal(run.folder)).render("page.html")
    assert "<title>Preparing data sets</title>" in page
    assert "Data set by urgency: published" in page
    assert preparations.tags()[0] in page
