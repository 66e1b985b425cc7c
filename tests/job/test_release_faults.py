"""Releases that are cut short, refused, overtaken or broken, with real processes: what the Hub holds then.

After each, main is one complete version with its tag, the API serves it, and the message says what happened.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from configs import id2urgency
from retrain.evaluation.comparison import load_comparison
from retrain.evaluation.decision_gate import decide
from retrain.hub.model_repo import ModelRepo
from retrain.training.checkpoint import load_classifier
from tests.conftest import SOURCE, City, free_port

HOLD = 50  # seconds, if it is not released: less than those after which the client gives up


def assert_whole(city: City, versions: int) -> None:
    """Main is the newest version, complete and tagged, and the API serves it."""
    listed = ModelRepo(city.api, "city/model").versions()
    assert len(listed) == versions
    head = city.api.model_info("city/model").sha
    assert listed[0].revision == head
    assert ModelRepo(city.api, "city/model").metadata(head)["version_tag"] == listed[0].tag
    files = set(city.api.list_repo_files("city/model", revision=head))
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "metadata.json"} <= files
    assert listed[0].verified
    assert city.live_api.about()["model_revision"] == head


def weights(city: City, revision: str) -> str:
    (info,) = city.api.get_paths_info("city/model", "model.safetensors", revision=revision)
    return info.lfs.sha256  # type: ignore[union-attr]


def kill(job: subprocess.Popen[str]) -> None:
    """Supervisor and training process at once, as a machine that goes away."""
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=20)


@pytest.mark.parametrize(
    ("path", "released", "said"),
    [
        ("/api/models/city/model/commit/", 1, None),
        ("/api/models/city/model/tag/", 2, "its tag was made, and the Space serves it now"),
        ("/api/spaces/city/inference/restart", 2, "cut short in the release of v"),
        ("/api/spaces/city/inference/runtime", 2, "cut short in the release of v"),
    ],
    ids=["before the commit", "between commit and tag", "between tag and restart", "during the wait"],
)
def test_a_release_that_is_killed_is_finished_by_the_next_run(
    served_city: City, path: str, released: int, said: str | None
) -> None:
    city = served_city
    held = city.hub.faults.add(path=path, delay=60)
    job = city.start(real_start=True)
    assert held.met.wait(90)
    kill(job)
    city.hub.faults.clear()
    run = city.run(NUM_TRAIN_EPOCHS="1", LEARNING_RATE="1e-6")  # a candidate that is not better
    assert run.record["outcome"] == "rejected", run.output
    assert_whole(city, versions=released)
    warnings = " ".join(warning["message"] for warning in run.record.get("warnings", ()))
    if said:
        assert said in warnings
    else:
        assert "cut short" not in warnings


def test_a_commit_that_was_made_but_answered_500_is_found(served_city: City) -> None:
    city = served_city
    city.hub.faults.add(method="POST", path="/city/model/commit/", status=500, lose_answer=True)
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (0, "accepted"), run.output
    assert_whole(city, versions=2)
    assert sum(c.title.startswith("Auto-deploy: ΔF1") for c in city.api.list_repo_commits("city/model")) == 2


def test_a_tag_that_is_refused_fails_the_run_and_is_made_by_the_next(served_city: City) -> None:
    city = served_city
    city.hub.faults.add(method="POST", path="/city/model/tag/", status=403)
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "failed")
    assert "The next run makes the tag and finishes the release." in run.output
    run = city.run(NUM_TRAIN_EPOCHS="1", LEARNING_RATE="1e-6")
    assert run.record["outcome"] == "rejected", run.output
    assert_whole(city, versions=2)


def test_a_tag_that_somebody_has_taken_is_never_moved(served_city: City) -> None:
    """The job finds its tag taken by another commit: it takes the next second, in metadata.json too."""
    city = served_city
    first = city.api.model_info("city/model").sha
    held = city.hub.faults.add(method="POST", path="/city/model/tag/", delay=HOLD)
    job = city.start()
    assert held.met.wait(90)
    wanted = ModelRepo(city.api, "city/model").metadata()["version_tag"]
    city.api.create_tag("city/model", tag=wanted, revision=first)
    held.released.set()
    run = city.end(job)
    assert run.record["outcome"] == "accepted", run.output
    assert run.record["release"]["version_tag"] > wanted
    assert next(v for v in ModelRepo(city.api, "city/model").versions() if v.tag == wanted).revision == first
    assert_whole(city, versions=3)


def test_a_restart_that_is_refused_is_no_fault_of_the_version_and_the_next_run_finishes_it(
    served_city: City,
) -> None:
    city = served_city
    city.hub.faults.add(method="POST", path="/spaces/city/inference/restart", status=403, times=None)
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert "Could not restart the Space city/inference" in run.output
    assert "was not tried, so it was not given up" in run.output
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert newest.tag == run.record["release"]["version_tag"]
    assert (newest.verified, newest.given_up) == (False, False)
    city.hub.faults.clear()
    run = city.run(NUM_TRAIN_EPOCHS="1", LEARNING_RATE="1e-6")
    assert run.record["outcome"] == "rejected", run.output
    assert_whole(city, versions=2)


@pytest.mark.parametrize("status", [500, 503])
def test_a_restart_that_is_refused_for_some_seconds_costs_no_release(served_city: City, status: int) -> None:
    city = served_city
    refused = city.hub.faults.add(
        method="POST", path="/spaces/city/inference/restart", status=status, times=6
    )
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (0, "accepted"), run.output
    assert refused.hits == 6
    assert_whole(city, versions=2)


def serve_wrongly(city: City, rightly: set[str]) -> None:
    """The API serves what is released, but swaps the labels, unless it has loaded one of these weights."""
    right = city.live_api.answer

    def answer(text: str | list[str]) -> tuple[int, Any]:
        status, body = right(text)
        if status == 200 and weights(city, city.live_api.about()["model_revision"]) not in rightly:
            swap = {"NORMAL": "URGENT", "URGENT": "HIGHLY URGENT", "HIGHLY URGENT": "NORMAL"}
            bodies = body if isinstance(body, list) else [body]
            for each in bodies:
                each["label"] = swap[each["label"]]
                each["scores"] = {swap[name]: score for name, score in each["scores"].items()}
        return status, body

    city.live_api.answer = answer


def test_a_version_that_answers_with_other_labels_is_rolled_back(served_city: City) -> None:
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    serve_wrongly(city, rightly={weights(city, first.revision)})
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "rolled_back"), run.output
    assert f"{first.tag} was restored as" in run.output
    assert "test text" in run.output
    assert_whole(city, versions=3)
    restored, released, _ = ModelRepo(city.api, "city/model").versions()
    assert weights(city, restored.revision) == weights(city, first.revision)
    assert weights(city, released.revision) != weights(city, first.revision)
    told = ModelRepo(city.api, "city/model").metadata(restored.revision)
    assert told["restored_from"] == first.tag
    assert released.given_up
    assert not released.verified


def test_a_push_during_the_rollout_does_not_bar_the_way_back_and_stays(served_city: City) -> None:
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    serve_wrongly(city, rightly={weights(city, first.revision)})
    held = city.hub.faults.add(method="POST", path="/spaces/city/inference/restart", delay=HOLD)
    job = city.start()
    assert held.met.wait(90)
    city.api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="city/model")
    held.released.set()
    run = city.end(job)
    assert (run.exit_code, run.record["outcome"]) == (1, "rolled_back"), run.output
    assert_whole(city, versions=3)
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert weights(city, newest.revision) == weights(city, first.revision)
    assert "notes.txt" in city.api.list_repo_files("city/model")


def test_a_version_that_was_given_up_is_reverted_by_the_next_run_never_finished(served_city: City) -> None:
    """Its canary fails, and so does the way back: the next run may not take any answer for a proof."""
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    serve_wrongly(city, rightly={weights(city, first.revision)})
    city.hub.faults.add(method="POST", path="/city/model/commit/", status=403, skip=1)
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert "Going back to" in run.output
    released = ModelRepo(city.api, "city/model").versions()[0]
    assert (released.given_up, released.verified) == (True, False)
    run = city.run(NUM_TRAIN_EPOCHS="1", LEARNING_RATE="1e-6")
    assert f"which does not come up (it was given up): {first.tag} was restored" in run.output
    assert_whole(city, versions=3)
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert weights(city, newest.revision) == weights(city, first.revision)


def test_the_way_back_leads_to_a_version_that_has_served_never_to_one_that_was_given_up(
    served_city: City,
) -> None:
    """First good, second bad, third the restored first, whose rollout was cut short and does not come up."""
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    bad = city.api.upload_file(path_or_fileobj=b"bad", path_in_repo="model.safetensors", repo_id="city/model")
    city.api.create_tag("city/model", tag="v20990101_000000", revision=bad.oid)
    ModelRepo(city.api, "city/model").mark("given-up-", "v20990101_000000", bad.oid)
    third = ModelRepo(city.api, "city/model").restore(first, cause="a test")
    serve_wrongly(city, rightly=set())
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert f"Going back to {first.tag} failed too" in run.output
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert newest.tag > third.version_tag
    assert weights(city, newest.revision) == weights(city, first.revision)


def test_a_tag_that_is_not_ours_is_left_alone(served_city: City) -> None:
    city = served_city
    theirs = city.api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="city/model")
    city.api.create_tag("city/model", tag="v20990101_000000", revision=theirs.oid)
    city.hub.requests.clear()
    run = city.run(NUM_TRAIN_EPOCHS="1", LEARNING_RATE="1e-6")
    assert "cut short" not in run.output
    assert not any("city/inference/restart" in request.path for request in city.hub.requests)
    assert run.record["outcome"] == "rejected", run.output


def test_what_people_wrote_into_the_card_and_beside_it_stays(served_city: City) -> None:
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    card = Path(city.api.hf_hub_download("city/model", "README.md")).read_text(encoding="utf-8")
    city.api.upload_file(
        path_or_fileobj=f"{card}\n## Ours\n\nAsk Maya.\n".encode(),
        path_in_repo="README.md",
        repo_id="city/model",
    )
    city.api.upload_file(path_or_fileobj=b"note", path_in_repo="notes.txt", repo_id="city/model")
    run = city.run()
    assert run.exit_code == 0, run.output
    by_hand(city, "rollback", "--to", str(first.tag))
    for version in ModelRepo(city.api, "city/model").versions()[:2]:
        file = city.api.hf_hub_download("city/model", "README.md", revision=version.revision)
        assert Path(file).read_text(encoding="utf-8").strip().endswith("## Ours\n\nAsk Maya.")
        assert "notes.txt" in city.api.list_repo_files("city/model", revision=version.revision)
    second = run.record["release"]["revision"]
    file = city.api.hf_hub_download("city/model", "README.md", revision=second)
    assert f"| `{first.tag}` |" in Path(file).read_text(encoding="utf-8")


def test_a_version_that_never_becomes_ready_is_rolled_back(served_city: City) -> None:
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    honest = city.live_api.about

    def about() -> dict[str, Any]:
        """The Space is stuck in the version before, until that is the newest again."""
        served = honest()
        if weights(city, served["model_revision"]) == weights(city, first.revision):
            return served
        return {"model_version": first.tag, "model_revision": first.revision}

    city.live_api.about = about
    run = city.run(ROLLOUT_TIMEOUT_MINUTES="0.05")
    assert (run.exit_code, run.record["outcome"]) == (1, "rolled_back"), run.output
    assert f"serving {first.tag}" in run.output
    assert_whole(city, versions=3)


def test_a_head_that_moved_since_the_comparison_makes_the_verdict_void(served_city: City) -> None:
    city = served_city
    held = city.hub.faults.add(method="POST", path="/city/model/commit/", delay=HOLD)
    job = city.start()
    assert held.met.wait(90)
    city.api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="city/model")
    moved = city.api.model_info("city/model").sha
    held.released.set()
    run = city.end(job)
    assert (run.exit_code, run.record["outcome"]) == (1, "inconclusive"), run.output
    assert "city committed 'Upload notes.txt with huggingface_hub'" in run.output
    assert city.api.model_info("city/model").sha == moved
    assert len(ModelRepo(city.api, "city/model").versions()) == 1


def test_of_two_jobs_that_release_at_once_one_wins_and_the_other_finds_that_the_head_moved(
    served_city: City,
) -> None:
    city = served_city
    held = city.hub.faults.add(method="POST", path="/city/model/commit/", delay=HOLD)
    one = city.start()
    assert held.met.wait(90)
    other = city.start(RUN_DIR=str(city.root / "runs2"), PORT=str(free_port()))
    outcomes = {city.end(other, runs="runs2").record["outcome"]}
    held.released.set()
    outcomes.add(city.end(one).record["outcome"])
    assert outcomes == {"accepted", "inconclusive"}
    assert_whole(city, versions=2)


def by_hand(city: City, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "retrain", *arguments],
        env=city.settings,
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_versions_are_listed_and_restored_by_hand(served_city: City) -> None:
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    run = city.run()
    assert run.exit_code == 0, run.output
    second = run.record["release"]["version_tag"]
    table = by_hand(city, "versions").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["version", second, first.tag]
    assert table[1].endswith("serves now")
    assert f"{run.record['test_scores']['f1_macro']:.4f}" in table[1]
    told = by_hand(city, "rollback")
    assert told.returncode == 0, told.stderr
    assert f"{first.tag} was restored as" in told.stdout
    assert_whole(city, versions=3)
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert weights(city, newest.revision) == weights(city, first.revision)
    assert f"restored from {first.tag}" in by_hand(city, "versions").stdout.splitlines()[1]
    missing = by_hand(city, "rollback", "--to", "v20200101_000000")
    assert missing.returncode == 1
    assert "has no version v20200101_000000. It has: v" in missing.stderr


def test_what_was_rolled_back_by_hand_is_not_released_again(served_city: City) -> None:
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    run = city.run()
    assert run.record["outcome"] == "accepted", run.output
    bad = run.record["release"]["version_tag"]
    told = by_hand(city, "rollback").stdout
    assert f"This gives up {bad}: no run will release a model of the same data set" in told
    again = by_hand(city, "rollback", "--to", str(first.tag))
    assert (again.returncode, again.stdout) == (
        0,
        f"city/inference serves {first.tag} already: nothing was done.\n",
    )
    assert_whole(city, versions=3)

    run = city.run(DECISION_THRESHOLD="0.0001", SEED="42")  # what the weights do not depend on
    assert (run.exit_code, run.record["outcome"]) == (0, "rejected"), run.output
    assert f"{bad} was made from the same data set, checkpoint and training settings" in run.output
    assert "training" not in run.record, "nothing was trained for it"

    assert by_hand(city, "rollback", "--to", bad).returncode == 0
    run = city.run()
    assert "training" in run.record, "it may be made again"


def test_a_weak_model_that_was_released_is_a_weak_model_and_no_broken_api(
    served_city: City, checkpoint: Path, tmp_path: Path
) -> None:
    """It answers one label to everything, through the API as here."""
    city = served_city
    weak = load_classifier(checkpoint, "the test's", id2urgency)
    head = weak[0].classifier.out_proj
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    for part in weak:
        part.save_pretrained(tmp_path / "weak")
    pushed = city.api.upload_folder(folder_path=tmp_path / "weak", repo_id="city/model")
    city.api.create_tag("city/model", tag="v20990101_000000", revision=pushed.oid)
    city.api.restart_space("city/inference")
    run = city.run(COMPARE_WITH="api")
    assert run.record["verdict"]["f1_macro_live"] < 0.3
    assert (run.exit_code, run.record["outcome"]) == (0, "accepted"), run.output
    comparison, rules = load_comparison(run.folder / "comparison.parquet")
    assert comparison.confirmed
    assert decide(comparison, rules).outcome == "accepted"


def test_a_way_back_that_was_cut_short_is_gone_by_the_next_run_of_the_same_settings(
    served_city: City,
) -> None:
    """A restart is the ordinary case: nothing is trained, and what was given up does not go on serving."""
    city = served_city
    (first,) = ModelRepo(city.api, "city/model").versions()
    serve_wrongly(city, rightly={weights(city, first.revision)})
    city.hub.faults.add(method="POST", path="/city/model/commit/", status=403, skip=1)
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (0, "rejected"), run.output
    assert f"which does not come up (it was given up): {first.tag} was restored" in run.output
    assert "training" not in run.record
    assert_whole(city, versions=3)
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert weights(city, newest.revision) == weights(city, first.revision)


def test_a_rollback_whose_restart_was_refused_is_finished_by_a_run_that_finds_nothing_changed(
    served_city: City,
) -> None:
    city = served_city
    assert city.run().record["outcome"] == "accepted"
    refused = city.hub.faults.add(
        method="POST", path="/spaces/city/inference/restart", status=403, times=None
    )
    assert by_hand(city, "rollback").returncode == 1
    assert refused.hits
    city.hub.faults.clear()
    run = city.run(SKIP_UNCHANGED="true")
    assert "training" not in run.record, run.output
    assert_whole(city, versions=3)


def test_a_rollback_while_the_same_model_is_trained_holds(served_city: City) -> None:
    city = served_city
    assert city.run().record["outcome"] == "accepted"
    held = city.hub.faults.add(path="/api/models/city/model$", delay=HOLD, skip=1)
    job = city.start()
    assert held.met.wait(90)
    city.wait_for(job, "stage", name="load data")
    assert by_hand(city, "rollback").returncode == 0
    held.released.set()
    run = city.end(job)
    assert run.record["outcome"] == "rejected", run.output
    newest = ModelRepo(city.api, "city/model").versions()[0]
    assert ModelRepo(city.api, "city/model").metadata(newest.revision)["restored_from"]


def test_a_mark_that_can_not_be_made_leaves_everything_as_it_is(served_city: City) -> None:
    city = served_city
    assert city.run().record["outcome"] == "accepted"
    city.hub.faults.add(method="POST", path="/city/model/tag/", status=503, times=None)
    told = by_hand(city, "rollback")
    assert told.returncode == 1
    assert "could not be given up, so nothing was rolled back" in told.stderr
    assert_whole(city, versions=2)


def test_texts_longer_than_the_new_model_reads_are_compared_whole(served_city: City) -> None:
    """The live model reads 512 tokens where it serves: it is not judged by what a shorter one would read."""
    city = served_city
    short = city.run(MAX_LENGTH="9", COMPARE_WITH="api")
    usual = city.run(COMPARE_WITH="api", NUM_TRAIN_EPOCHS="1")
    live = [run.record["verdict"]["f1_macro_live"] for run in (short, usual)]
    assert short.record["outcome"] == "rejected", short.output
    assert live[0] == live[1]
    asked = [text for each in city.live_api.asked for text in ([each] if isinstance(each, str) else each)]
    assert max(map(len, asked)) > 60
