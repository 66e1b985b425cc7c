"""The job as a real process against a Hub, a data set, an API and a disk that fail, one at a time.

For each: outcome, exit code, a message to act on, run.json, nothing published, the Space paused, no secret.
"""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rehearsal.local_hub import LocalHub
from rehearsal.tiny_checkpoint import make_checkpoint
from retrain.evaluation.comparison import load_comparison
from retrain.evaluation.decision_gate import decide
from tests.conftest import CITY, FIRST, LEARNING, READER, STRANGER, USERS, City, LiveAPI, Run

Rows = list[dict[str, Any]]
Splits = dict[str, Rows]


def assert_ended(city: City, run: Run, outcome: str, exit_code: int, said: str) -> None:
    assert run.exit_code == exit_code, run.output
    assert run.record["outcome"] == outcome
    assert said in " ".join(run.record["reasons"])
    assert said in run.output
    assert city.nothing_published
    for file in run.folder.rglob("*"):
        if file.is_file():
            assert CITY.encode() not in file.read_bytes(), f"the token is in {file.name}"
    assert CITY not in run.output


def run_unpaused(city: City, **settings: str) -> Run:
    """A run whose token may not pause the Space: it stays up, until it is asked to end."""
    job = city.start(SPACE_ID=settings.get("RETRAIN_SPACE_ID", "city/retrain"), **settings)
    city.wait_for(job, "pause_failed")
    job.terminate()
    return city.end(job)


# --- the data set


def with_row(splits: Splits, split: str, **changed: Any) -> Splits:
    return splits | {split: [splits[split][0] | changed, *splits[split][1:]]}


def without_class(splits: Splits, split: str) -> Splits:
    return splits | {split: [row for row in splits[split] if row["label"] != "HIGHLY URGENT"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "test"}, "has no split test"),
        (lambda s: {k: [{"grievance": r["grievance"]} for r in v] for k, v in s.items()}, "no column label"),
        (
            lambda s: with_row(s, "eval", grievance=None),
            "Split eval has 1 row (number 0, from 0) without a text",
        ),
        (lambda s: with_row(s, "test", label="PANIC"), "Split test has 1 row"),
        (lambda s: without_class(s, "test"), "Split test of city/data has no row of HIGHLY URGENT"),
    ],
    ids=["a split", "a column", "a null", "an unknown label", "a class missing"],
)
def test_a_data_set_with_a_fault_fails_the_run(
    city: City, good_splits: Splits, change: Any, said: str
) -> None:
    city.push(change(good_splits), {"grievance": pa.string()})
    run = city.run()
    assert_ended(city, run, "failed", 1, said)
    assert city.paused


def test_a_data_set_that_does_not_exist_fails_the_run(city: City) -> None:
    run = city.run()
    assert_ended(city, run, "failed", 1, "it does not exist, or HF_TOKEN may not see it")
    assert city.paused


def test_a_data_set_that_the_token_may_not_see_fails_the_run(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    run = run_unpaused(city, HF_TOKEN=STRANGER, RETRAIN_SPACE_ID="stranger/retrain")
    assert_ended(city, run, "failed", 1, "it does not exist, or HF_TOKEN may not see it")


def test_a_checkpoint_that_is_not_there_fails_the_run(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    run = city.run(MODEL_CHECKPOINT="city/no-such-model")
    assert_ended(city, run, "failed", 1, "MODEL_CHECKPOINT")
    assert city.paused


# --- the settings


def test_bad_settings_are_told_recorded_and_pause_the_space(city: City) -> None:
    run = city.run(LABEL="colour", SEED="-1")
    assert_ended(city, run, "bad_settings", 2, "LABEL='colour'")
    assert "SEED='-1'" in run.output
    assert city.paused


@pytest.mark.parametrize(
    "spaces",
    [{"RETRAIN_SPACE_ID": "city/inference"}, {"RETRAIN_SPACE_ID": "", "SPACE_ID": "City/Inference"}],
    ids=["set so", "run there"],
)
def test_the_space_that_serves_is_never_paused(city: City, spaces: dict[str, str]) -> None:
    run = city.run(**spaces)
    assert_ended(city, run, "bad_settings", 2, "is SPACE_REPO_ID, too")
    stages = {city.api.get_space_runtime(f"city/{name}").stage for name in ("inference", "retrain")}
    assert stages == {"RUNNING"}


def test_a_short_secret_does_not_break_the_record(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.publish_a_model()
    city.live_api.answer = answer_right(good_splits)
    run = city.run(API_TOKEN="rejected", AUDIT_KEY="verdict")
    assert (run.exit_code, run.record["outcome"]) == (0, "rejected"), run.output
    assert run.record["verdict"]["outcome"] == "rejected"
    assert "AUDIT_KEY is shorter than 8 characters" in run.output


def test_a_token_copied_with_something_invisible_is_named_and_the_space_paused_with_the_rest_of_it(
    city: City,
) -> None:
    run = city.run(HF_TOKEN=f"{CITY}\u200b")
    assert_ended(city, run, "bad_settings", 2, "HF_TOKEN: should be of visible ASCII characters on one line")
    assert city.paused


UNUSABLE = {
    "HF_HUB_DOWNLOAD_TIMEOUT": "10s",
    "HF_HUB_ETAG_TIMEOUT": "ten",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_IN_MEMORY_MAX_SIZE": "2GB",
    "TQDM_MININTERVAL": "10s",
    "SSL_CERT_FILE": "/no/such/file",
    "REQUESTS_CA_BUNDLE": "/no/such/file",
    "HTTPS_PROXY": "socks5://proxy.example:1080",
}


@pytest.mark.parametrize(
    ("settings", "outcome"), [({}, "inconclusive"), ({"LABEL": "colour"}, "bad_settings")]
)
def test_whatever_the_environment_holds_the_job_starts_and_pauses_its_space(
    city: City, good_splits: Splits, settings: dict[str, str], outcome: str
) -> None:
    city.push(good_splits)
    run = city.run(**UNUSABLE, **settings, PYTHONIOENCODING="ascii", LC_ALL="नेपाली")
    assert run.record["outcome"] == outcome, run.output
    warnings = [warning["message"].split()[0] for warning in run.record["warnings"]]
    assert UNUSABLE.keys() <= set(warnings)
    assert city.paused


# --- the live API


def test_a_paused_inference_space_is_not_waited_for(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.publish_a_model()
    city.api.pause_space("city/inference")
    city.live_api.about_status = lambda: 503
    run = city.run(ROLLOUT_TIMEOUT_MINUTES="60")
    assert_ended(city, run, "inconclusive", 1, "The inference Space is PAUSED")
    assert "Restart it in its settings on the Hub." in run.output


def answer_right(splits: Splits, but_for: int = 7) -> Callable[[Any], tuple[int, Any]]:
    """A live model that knows the test set, but for every so many-th row."""
    known = {row["grievance"]: row["label"] for row in splits["test"]}
    wrong = set(list(known)[::but_for])

    def answer(text: str | list[str]) -> tuple[int, Any]:
        def one(text: str) -> dict[str, Any]:
            label = "URGENT" if text in wrong else known[text]
            return {"label": label, "confidence": 0.9, "scores": {}}

        return 200, [one(each) for each in text] if isinstance(text, list) else one(text)

    return answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param((500, {}), "status 500", id="500"),
        pytest.param((200, "<html>busy</html>"), "no JSON but text/html", id="HTML"),
        pytest.param((200, {"answer": 42}), "JSON without a label", id="a wrong JSON"),
        pytest.param((200, {"label": "PANIC"}), "unknown label", id="an unknown label"),
    ],
)
def test_an_api_that_gives_no_predictions_is_inconclusive(
    city: City, good_splits: Splits, answer: tuple[int, Any], said: str
) -> None:
    city.push(good_splits)
    city.publish_a_model()
    city.live_api.answer = lambda text: answer
    run = city.run()
    assert_ended(city, run, "inconclusive", 1, said)
    assert city.paused


def test_an_api_that_is_down_is_inconclusive(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.publish_a_model()
    city.live_api.server.server_close()
    run = city.run()
    assert_ended(city, run, "inconclusive", 1, "no connection")
    assert city.paused


@pytest.mark.timeout(400)
def test_an_api_that_hangs_is_inconclusive(city: City, good_splits: Splits) -> None:
    """Two minutes: the job gives an answer 60 seconds, twice."""
    city.push(good_splits)
    city.publish_a_model()
    released = threading.Event()
    city.live_api.answer = lambda text: (released.wait(300), (200, {}))[1]
    run = city.run(timeout=300)
    released.set()
    assert_ended(city, run, "inconclusive", 1, "no answer in time")
    assert city.paused


def test_an_api_that_answers_the_same_to_everything_is_inconclusive(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.publish_a_model()
    run = city.run()
    assert_ended(city, run, "inconclusive", 1, "The API answered NORMAL to all of 60 rows")
    assert city.paused


@pytest.mark.parametrize(
    ("settings", "said"),
    [({}, "to all rows: it has learnt nothing"), ({**LEARNING, "MIN_F1_MACRO": "0.99"}, "below the floor")],
    ids=["one label", "the floor"],
)
def test_a_first_release_must_have_learnt_something(
    city: City, good_splits: Splits, settings: dict[str, str], said: str
) -> None:
    city.push(good_splits)
    run = city.run(ALLOW_FIRST_RELEASE="true", **settings)
    assert_ended(city, run, "rejected", 0, said)
    assert city.paused


def test_a_first_release_needs_to_be_allowed(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    run = city.run()
    assert_ended(city, run, "inconclusive", 1, "ALLOW_FIRST_RELEASE")
    assert city.paused


# --- the Hub


def test_a_candidate_that_is_not_better_is_rejected(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.publish_a_model()
    city.live_api.answer = answer_right(good_splits)
    run = city.run(ACCELERATOR="t4", CUDA_VISIBLE_DEVICES="")
    assert_ended(city, run, "rejected", 0, "0.0010")
    assert "t4 is paid for and not used" in run.output
    assert city.paused
    verdict = run.record["verdict"]
    anew = decide(*load_comparison(run.folder / "comparison.parquet"))
    assert (anew.delta, list(anew.interval or ())) == (verdict["delta"], verdict["interval"])
    assert verdict["f1_macro_live"] > 0.8
    # The API is not at the address of the private Space: our token is not for it.
    assert not any("Authorization" in headers for headers in city.live_api.headers)


def test_the_version_that_serves_is_recorded_and_told_from_the_one_on_the_hub(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    city.publish_a_model()
    city.api.create_tag("city/model", tag="v20250601_120000")
    city.live_api.answer = answer_right(good_splits)
    city.live_api.about = lambda: {"model_version": "v20250101_000000", "model_revision": "0" * 40}
    run = city.run()
    served = run.record["verdict"]["served"]
    assert (served["tag"], served["revision"]) == ("v20250101_000000", "0" * 40)
    assert "The API serves v20250101_000000, but the newest version of city/model is v20250601" in run.output


def test_with_hub_the_released_model_reads_with_its_own_tokenizer(
    city: City, good_splits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The next checkpoint has another vocabulary: with its ids the released model would read nonsense."""
    city.push(good_splits)
    city.serve_newest()
    training = {"NUM_TRAIN_EPOCHS": "20", "LEARNING_RATE": "0.002", "EARLY_STOPPING_PATIENCE": "9"}
    first = city.run(**FIRST | training)
    assert first.exit_code == 0, first.output
    texts = [row["grievance"] for row in good_splits["train"]]
    other = make_checkpoint(tmp_path_factory.mktemp("other"), texts, vocab_size=300)
    run = city.run(COMPARE_WITH="hub", MODEL_CHECKPOINT=str(other))
    assert run.record["verdict"]["f1_macro_live"] == pytest.approx(first.record["test_scores"]["f1_macro"])


def test_with_hub_the_released_model_is_scored_here_on_the_whole_test_set(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    city.serve_newest()
    first = city.run(SEED="1", **FIRST)
    assert first.exit_code == 0, first.output
    city.live_api.server.server_close()
    run = city.run(COMPARE_WITH="hub", **FIRST | {"SEED": "1"})
    verdict = run.record["verdict"]
    assert (run.record["outcome"], verdict["delta"]) == ("rejected", 0.0), run.output
    assert verdict["rows_compared"] == len(good_splits["test"])
    assert verdict["served"]["revision"] == first.record["release"]["revision"]


def test_a_token_without_write_permission_fails_before_training(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    run = run_unpaused(city, HF_TOKEN=READER)
    assert run.exit_code == 1
    assert "HF_TOKEN may only read" in run.output
    assert "pause it by hand" in run.output
    assert city.nothing_published
    assert READER not in run.output


def test_a_fine_grained_token_that_may_not_restart_the_space_fails_before_training(
    tmp_path: Path, live_api: LiveAPI, checkpoint: Path, good_splits: Splits
) -> None:
    token = "hf_narrow_" + "d" * 24
    model = {"entity": {"type": "model", "name": "city/model"}, "permissions": ["repo.write"]}
    users = USERS | {token: USERS[CITY] | {"fineGrained": {"global": [], "scoped": [model]}}}
    with LocalHub(tmp_path / "hub", users) as hub:
        city = City(tmp_path, hub, live_api, checkpoint)
        city.push(good_splits)
        run = city.run(HF_TOKEN=token)
        said = "HF_TOKEN is fine-grained and may not write to city/inference, city/retrain."
        assert_ended(city, run, "failed", 1, said)
        assert "stages" not in run.record
        assert token not in run.output


def test_one_failure_of_each_call_to_the_hub_does_not_end_the_run(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.serve_newest()
    calls = [
        ("GET", "/api/whoami-v2", 500),
        ("GET", "/api/datasets/city/data", 503),
        ("POST", "/preupload/main", 500),
        ("POST", "/info/lfs/", 502),
        ("PUT", "/_lfs/", 503),
        ("POST", "/city/model/commit/main", 500),
        ("POST", "/city/model/tag/", 500),
        ("POST", "/city/inference/restart", 500),
        ("POST", "/city/model/branch/", 500),
        ("POST", "/city/model/commit/runs", 502),
        ("POST", "/city/retrain/pause", 500),
    ]
    faults = [city.hub.faults.add(method=m, path=path, status=status) for m, path, status in calls]
    run = city.run(**FIRST)
    assert [fault.hits for fault in faults] == [1] * len(faults)
    assert (run.exit_code, run.record["outcome"]) == (0, "accepted"), run.output
    assert len(city.version_tags) == 1
    assert run.record["kept"]["url"]
    assert city.paused


def test_a_rate_limit_is_waited_out_and_log_and_page_say_so(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.serve_newest()
    limit = {"status": 429, "headers": {"RateLimit": '"api";r=0;t=2'}}
    upload = city.hub.faults.add(method="PUT", path="/_lfs/", **limit)
    tag = city.hub.faults.add(method="POST", path="/city/model/tag/", **limit)
    run = city.run(**FIRST)
    assert (upload.hits, tag.hits) == (1, 1)
    assert (run.exit_code, run.record["outcome"]) == (0, "accepted"), run.output
    assert run.output.count("The Hub limits the rate of calls: /") == 3  # the first one in the summary, too
    (warning,) = [w["message"] for w in run.record["warnings"] if "limits the rate" in w["message"]]
    assert "(status 429) is asked again in" in warning


def test_a_hub_that_answers_503_for_ever_fails_the_run(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.hub.faults.add(path=r"/api/datasets/", status=503, times=None)
    run = city.run()
    assert_ended(city, run, "failed", 1, "the Hub is overloaded or down")
    assert city.paused


def test_a_commit_whose_connection_is_dropped_publishes_nothing_and_keeps_the_weights(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    city.hub.faults.add(method="POST", path="/commit/", drop=True, times=None)
    run = city.run(**FIRST)
    assert_ended(city, run, "failed", 1, "the weights are kept in")
    assert (run.folder / "model" / "model.safetensors").exists()
    assert city.paused


def test_an_upload_that_is_refused_fails_the_run_and_keeps_the_weights(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    city.hub.faults.add(method="PUT", path="/_lfs/", status=400, times=None)
    run = city.run(**FIRST)
    assert_ended(city, run, "failed", 1, "the upload failed")
    assert (run.folder / "model" / "model.safetensors").exists()
    assert city.paused


def test_a_commit_whose_answer_is_lost_is_found_and_tagged_once(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.serve_newest()
    city.hub.faults.add(method="POST", path="/commit/", lose_answer=True)
    run = city.run(**FIRST)
    assert run.exit_code == 0, run.output
    commits = city.api.list_repo_commits("city/model")
    assert sum(commit.title.startswith("Auto-deploy") for commit in commits) == 1
    (tag,) = city.version_tags
    assert tag.target_commit == commits[0].commit_id


# --- the disk


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_fails_the_run_and_is_recorded(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    small = city.root / "runs"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(small)], check=True)
    try:
        run = city.run(real_start=True, **FIRST)
        assert_ended(city, run, "failed", 1, "The disk is full")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert city.paused


@pytest.mark.parametrize(
    "settings", [{"HF_HOME": "/dev/null/x"}, {"HOME": "/proc/nowhere"}], ids=["HF_HOME", "HOME"]
)
def test_a_cache_that_can_not_be_written_fails_the_run_before_anything_is_begun(
    city: City, good_splits: Splits, settings: dict[str, str]
) -> None:
    city.push(good_splits)
    run = city.run(**settings)
    assert_ended(city, run, "failed", 1, "Set HF_HOME to a folder that can be written")
    assert "stages" not in run.record
    assert city.paused


# --- what a good run leaves


def test_a_release_is_one_commit_with_everything_and_one_tag_on_it(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    city.serve_newest()
    run = city.run(WANDB_API_KEY="k" * 40, WANDB_BASE_URL="http://127.0.0.1:9", **FIRST)
    assert run.exit_code == 0, run.output
    commits = city.api.list_repo_commits("city/model")
    assert [c.title for c in commits][:1] == ["Auto-deploy: ΔF1 >= 0.0010 (first release)"]
    assert len(commits) == 2  # the Hub's own first commit, and this one
    (tag,) = city.version_tags
    assert tag.target_commit == commits[0].commit_id
    files = set(city.api.list_repo_files("city/model", revision=tag.name))
    wanted = {"model.safetensors", "config.json", "tokenizer.json", "README.md", "metadata.json"}
    assert wanted | {"reports/confusion_matrix.png", "reports/classification_report.txt"} <= files
    assert not [name for name in files if Path(name).suffix in (".bin", ".pt", ".pkl")]
    assert "W&B can't be reached" in run.output
    assert "k" * 40 not in run.output
    assert run.record["dataset"]["version_tag"] == "v20250101_000000"
    assert run.record["release"]["version_tag"] == tag.name
