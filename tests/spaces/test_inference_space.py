"""The inference Space as a real process, its model on the local Hub."""

import contextlib
import hashlib
import hmac
import json
import math
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.inference_load import (
    answers_of_one_client,
    drive,
    make_bodies,
    resident_megabytes,
)
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import URGENCY_SHARES
from retrain.evaluation.live_model import LiveModel
from tests.conftest import SOURCE
from tests.spaces.conftest import JSON, NEWEST, REPO, TEXTS, USERS, Space

APP = SOURCE / "companion_spaces" / "inference"
RETRAIN_SPACE = "city/retrain"
SECRETS = {"API_TOKEN": "open-sesame", "AUDIT_KEY": "a-key-of-ours", "RETRAIN_TRIGGER_TOKEN": "once-more"}
OLDER = "v20260731_235959"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, classifier: Path) -> Iterator[LocalHub]:
    """A private model: the version that is newest by its name was made first, and main has moved on."""
    with pytest.MonkeyPatch.context() as patch, LocalHub(tmp_path_factory.mktemp("hub"), USERS) as running:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # as the variable does at import
        api = HfApi(endpoint=running.url, token="hf_owner")
        api.create_repo(REPO, private=True)
        api.upload_folder(repo_id=REPO, folder_path=classifier)
        api.create_tag(REPO, tag=NEWEST)
        for tag in (OLDER, "v99999999_999999", "zzz"):
            api.upload_file(repo_id=REPO, path_in_repo="note.txt", path_or_fileobj=tag.encode())
            api.create_tag(REPO, tag=tag)
        api.upload_file(repo_id=REPO, path_in_repo="pytorch_model.bin", path_or_fileobj=b"a pickle")
        api.create_repo(RETRAIN_SPACE, repo_type="space", space_sdk="docker", private=True)
        api.upload_file(
            repo_id=RETRAIN_SPACE, repo_type="space", path_in_repo="Dockerfile", path_or_fileobj=b"FROM x"
        )
        yield running


def commit(hub: LocalHub, revision: str) -> str:
    return HfApi(endpoint=hub.url, token="hf_owner").model_info(REPO, revision=revision).sha


@pytest.fixture(scope="module")
def doomed(hub: LocalHub, start: Callable[..., Space]) -> dict[str, Space]:
    """Some that can't come up; started first, because importing torch takes its time."""
    absent = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_owner", "MODEL_REPO": "city/absent"}
    return {"no model": start(**absent), "no setting": start(), "no target": start(**absent, **SECRETS)}


@pytest.fixture(scope="module")
def space(hub: LocalHub, start: Callable[..., Space], doomed: dict[str, Space]) -> Space:
    """Serves the newest version; the Hub hesitates, so that a start can be watched."""
    hub.faults.add(path=f"/api/models/{REPO}/refs", delay=1.0)
    return start(HF_ENDPOINT=hub.url, HF_TOKEN="hf_owner", MODEL_REPO=REPO)


@pytest.fixture(scope="module")
def pinned(hub: LocalHub, start: Callable[..., Space], space: Space) -> Space:
    """Serves main, by name, wants a token, and may retrain."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_owner", "RETRAIN_SPACE_ID": RETRAIN_SPACE} | SECRETS
    return start(**settings, MODEL_REPO=REPO, MODEL_REVISION="main")


def test_while_the_model_is_loading_the_port_is_open_and_says_starting(space: Space) -> None:
    answer = space.health(wanted=503)
    assert answer == {
        "status": "starting",
        "reason": None,
        "model_repo": REPO,
        "model_version": None,
        "model_revision": None,
    }
    assert space.ask("/predict", {"text": "पानी छैन"})[0] == 503


def test_the_newest_version_by_the_time_in_its_name_is_served(space: Space, hub: LocalHub) -> None:
    expected = {"status": "ok", "reason": None, "model_repo": REPO, "model_version": NEWEST}
    assert space.health() == expected | {"model_revision": commit(hub, NEWEST)}
    assert space.ask("/") == (200, space.health())


def test_a_text_is_answered_with_a_label_its_confidence_and_all_scores(space: Space) -> None:
    space.health()
    status, answer = space.ask("/predict", {"text": "खानेपानी आएको छैन"})
    assert status == 200
    assert list(answer["scores"]) == list(URGENCY_SHARES)
    assert math.isclose(sum(answer["scores"].values()), 1, rel_tol=1e-5)
    assert answer["label"] == max(answer["scores"], key=answer["scores"].__getitem__)
    assert answer["confidence"] == answer["scores"][answer["label"]]


def test_a_list_is_answered_in_its_order_as_transformers_itself_would(space: Space, classifier: Path) -> None:
    space.health()
    texts = [*TEXTS[:62], "पानी " * 1500, "x"]
    status, answers = space.ask("/predict", {"text": texts})
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    assert (status, len(answers)) == (200, 64)
    for text, answer in [*zip(texts, answers, strict=True)][2::4]:
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, max_length=512, return_tensors="pt")).logits
        assert list(answer["scores"].values()) == pytest.approx(logits.softmax(-1)[0].tolist(), abs=1e-4)
    assert space.ask("/predict", {"text": texts[:1]})[1][0]["label"] == answers[0]["label"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"text": "  \n"}, "the text is empty"),
        (
            {"text": ["secret water", ""]},
            "['body', 'text', 'list', 1], 'msg': 'Value error, the text is empty",
        ),
        ({"text": []}, "at least 1 item after validation, not 0"),
        ({"text": ["secret"] * 65}, "at most 64 items after validation, not 65"),
        ({"text": ["secret"] + [1] * 1_000_000}, "at most 64 items after validation, not 1000001"),
        ({"text": "secret" * 2000}, "at most 10000 characters"),
        ({"text": 7}, "valid string"),
        ({"text": "secret \ud83d"}, "valid string"),
        ({}, "Field required"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_and_not_sent_its_text_back(
    space: Space, body: dict, reason: str
) -> None:
    space.health()
    status, answer = space.ask("/predict", body)
    assert status == 422
    assert reason in str(answer)
    assert "secret" not in str(answer)


def ask_for_long_lists(pool: ThreadPoolExecutor, space: Space, word: str) -> list[Future[tuple[int, Any]]]:
    """Ask for three lists of a word that is new, and wait for the first: two are still to compute."""
    texts = [f"{word} " * 1600] * 64
    lists = [pool.submit(space.ask, "/predict", {"text": texts}, "open-sesame") for _ in range(3)]
    while not any(line["text_hmac"] == keyed(texts[0]) for line in space.audited):
        time.sleep(0.01)
    return lists


def test_health_answers_while_predictions_are_computed(pinned: Space) -> None:
    pinned.health()
    with ThreadPoolExecutor() as pool:
        lists = ask_for_long_lists(pool, pinned, "बत्ती")
        answered = 0  # if the lists blocked it, it would answer once a list
        while not all(each.done() for each in lists):
            assert pinned.ask("/health")[0] == 200
            answered += 1
    assert answered > 2 * len(lists)
    assert [each.result()[0] for each in lists] == [200] * 3


def test_a_pinned_revision_is_served_and_no_pickle_is_downloaded(pinned: Space, hub: LocalHub) -> None:
    answer = pinned.health()
    assert (answer["model_version"], answer["model_revision"]) == (None, commit(hub, "main"))
    downloaded = {file.name for file in pinned.log.parent.rglob("snapshots/*/*")}
    assert "model.safetensors" in downloaded
    assert "pytorch_model.bin" not in downloaded


def test_with_an_api_token_only_its_bearer_gets_predictions_but_all_see_health(pinned: Space) -> None:
    pinned.health()
    body = {"text": "पानी छैन"}
    assert [pinned.ask("/predict", body, token)[0] for token in (None, "open-sesam", "open-sesame")] == [
        401,
        401,
        200,
    ]
    assert pinned.ask("/predict", {"text": ""})[0] == 401


def test_neither_texts_nor_secrets_are_logged(space: Space, pinned: Space) -> None:
    pinned.health()
    pinned.ask("/predict", {"text": "पानी छैन"}, "open-sesame")
    pinned.ask("/retrain", {}, "once-more")
    space.ask("/predict", {"text": "पानी छैन"})
    logged = "".join(file.read_text() for each in (space, pinned) for file in (each.log, each.audit))
    assert "पानी" not in logged
    for secret in ("hf_owner", *SECRETS.values()):
        assert secret not in logged


def test_while_the_hub_is_away_the_version_served_last_comes_from_the_cache(
    pinned: Space, start: Callable[..., Space]
) -> None:
    before = pinned.health()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    away = {"HF_ENDPOINT": nobody, "HF_HOME": str(pinned.log.parent), "MODEL_REPO": REPO}
    same = start(**away, MODEL_REVISION="main")
    assert same.health() == before | {"status": "waiting", "reason": "the Hub is away (ConnectError)"}
    assert same.ask("/predict", {"text": "पानी छैन"})[0] == 200


@pytest.fixture(scope="module")
def lonely(start: Callable[..., Space]) -> Space:
    """Without a Hub and a cache, in a container with one core."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return start(HF_ENDPOINT=nobody, MODEL_REPO=REPO, OMP_NUM_THREADS="", CPU_CORES="1")


def test_a_hub_that_is_away_is_waited_for_and_named(lonely: Space) -> None:
    assert lonely.waits() == {
        "status": "waiting",
        "reason": "the Hub is away (ConnectError)",
        "model_repo": REPO,
        "model_version": None,
        "model_revision": None,
    }
    refused = {"detail": "no model is loaded: the Hub is away (ConnectError)"}
    assert lonely.ask("/predict", {"text": "पानी छैन"}) == (503, refused)
    assert lonely.process.poll() is None


def test_it_computes_with_the_threads_of_its_container_by_the_rule_of_the_job(lonely: Space) -> None:
    lonely.waits()
    assert "threads that compute: 1\n" in lonely.log.read_text()
    assert (APP / "threads.py").read_text() == (SOURCE / "retrain" / "threads.py").read_text()


def test_a_body_that_drips_does_not_keep_the_process_from_ending(lonely: Space) -> None:
    lonely.waits()
    with socket.create_connection(lonely.address.split(":")) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert lonely.ask("/health")[0] == 503  # answered after what was sent before has been read
        lonely.process.terminate()
        for _ in range(25):
            with contextlib.suppress(OSError):
                connection.sendall(b"x" * 5000)  # no slower than a body has to be
            with contextlib.suppress(subprocess.TimeoutExpired):
                lonely.process.wait(1)
                return
    raise AssertionError("it has not ended")


def test_before_the_first_release_it_says_so_and_serves_it_once_it_is_there(
    hub: LocalHub, start: Callable[..., Space], classifier: Path
) -> None:
    api = HfApi(endpoint=hub.url, token="hf_owner")
    api.create_repo("city/new", private=True)
    space = start(HF_ENDPOINT=hub.url, HF_TOKEN="hf_owner", MODEL_REPO="city/new")
    assert space.waits()["reason"] == "no version yet: city/new holds no model"
    api.upload_folder(repo_id="city/new", folder_path=classifier)
    api.create_tag("city/new", tag=NEWEST)
    assert space.health()["model_version"] == NEWEST
    space.stop()


def test_a_model_that_cannot_be_loaded_ends_the_process_with_the_reason(doomed: dict[str, Space]) -> None:
    assert doomed["no model"].process.wait(60) == 1
    assert "can't load city/absent" in doomed["no model"].log.read_text()


def test_a_missing_setting_ends_the_process_with_its_name(doomed: dict[str, Space]) -> None:
    assert doomed["no setting"].process.wait(60) == 2
    assert "MODEL_REPO\n  Field required" in doomed["no setting"].log.read_text()


def test_a_trigger_token_without_a_space_to_restart_is_a_fault_of_the_settings(
    doomed: dict[str, Space],
) -> None:
    assert doomed["no target"].process.wait(60) == 2
    logged = doomed["no target"].log.read_text()
    assert "RETRAIN_TRIGGER_TOKEN needs RETRAIN_SPACE_ID and HF_TOKEN" in logged
    assert not [secret for secret in SECRETS.values() if secret in logged]


# --- what a request may cost


def test_a_text_gets_the_same_scores_alone_and_in_a_list(space: Space) -> None:
    space.health()
    texts = [*TEXTS[100:120], "पानी " * 1500, "x"]
    for text, answer in zip(texts, space.ask("/predict", {"text": texts})[1], strict=True):
        alone = space.ask("/predict", {"text": text})[1]
        assert alone["label"] == answer["label"]
        assert alone["scores"] == pytest.approx(answer["scores"], abs=1e-4)


def test_the_longest_list_that_is_allowed_is_answered_however_it_is_escaped(space: Space) -> None:
    space.health()
    body = {"text": ["\U0001f4a7" * 10_000] * 64}
    assert len(json.dumps(body)) > 64 * 10_000 * 12
    assert space.ask("/predict", body)[0] == 200


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
def test_a_longer_body_is_refused_and_not_kept(space: Space, announced: bool) -> None:
    space.health()
    before = resident_megabytes(space.process.pid)
    size = 400 * 2**20
    connection = HTTPConnection(space.address, timeout=60)
    headers = JSON | ({"Content-Length": str(size)} if announced else {})
    pieces = (b" " * 2**20 for _ in range(size // 2**20))
    connection.request("POST", "/predict", pieces, headers, encode_chunked=not announced)
    answer = connection.getresponse()
    assert (answer.status, b"Content Too Large" in answer.read()) == (413, True)
    assert resident_megabytes(space.process.pid) < before + 200


def test_clients_that_stop_sending_give_up_their_places_and_are_told_why(space: Space) -> None:
    space.health()
    body = b'{"text": "No water"}'
    stalled = [HTTPConnection(space.address, timeout=60) for _ in range(16)]
    for connection in stalled:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:5])
    assert space.ask("/health")[0] == 200
    assert space.ask("/predict", {"text": "No water"})[0] == 200
    displaced = stalled.pop(0).getresponse()
    assert (displaced.status, displaced.headers["Retry-After"]) == (503, "5")
    assert json.load(displaced) == documented("predict", 503, "busy")
    for connection in stalled:
        late = connection.getresponse()
        assert (late.status, json.load(late)) == (408, documented("predict", 408))


def test_a_slash_at_the_end_is_no_redirect_and_needs_the_token_too(space: Space, pinned: Space) -> None:
    """A redirect would lead to http behind a proxy that speaks https, and carry the texts with it."""
    space.health()
    pinned.health()
    body = {"text": "पानी छैन"}
    assert space.ask("/predict/", body) == space.ask("/predict", body)
    assert [pinned.ask("/predict/", body, token)[0] for token in (None, "open-sesame")] == [401, 200]
    assert pinned.ask("/retrain/", {}, "open-sesame")[0] == 401
    connection = HTTPConnection(space.address, timeout=60)
    connection.request("POST", "/nothing/", b"{}", JSON | {"X-Forwarded-Proto": "https"})
    assert connection.getresponse().status == 404


def test_the_token_is_looked_at_before_a_body_is_read(pinned: Space) -> None:
    for path in ("/predict", "/retrain"):
        connection = HTTPConnection(pinned.address, timeout=60)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)) == (401, documented("predict", 401))


def test_a_request_whose_client_has_gone_is_not_computed(pinned: Space) -> None:
    pinned.health()
    with ThreadPoolExecutor() as pool:
        others = ask_for_long_lists(pool, pinned, "पानी")
        connection = HTTPConnection(pinned.address)
        body = json.dumps({"text": "asked and left"}).encode()
        connection.request("POST", "/predict", body, JSON | {"Authorization": "Bearer open-sesame"})
        assert pinned.ask("/health")[0] == 200
        assert not all(other.done() for other in others)
        connection.close()
    assert pinned.ask("/predict", {"text": "asked and stayed"}, "open-sesame")[0] == 200
    hashes = [line["text_hmac"] for line in pinned.audited]
    assert keyed("asked and stayed") in hashes
    assert keyed("asked and left") not in hashes


def test_under_load_every_answer_is_the_one_that_a_single_client_got(space: Space) -> None:
    space.health()
    expected = answers_of_one_client(space.address, make_bodies(TEXTS[:120]))
    load = drive(space.address, expected, clients=8, seconds=3)
    assert (load.errors, load.differing) == (0, 0)
    assert load.requests > 16


def test_the_retrain_jobs_own_client_gets_an_answer_to_every_text_and_reads_the_version(
    space: Space,
) -> None:
    version = space.health()
    live = LiveModel(space.url + "/predict", {name: i for i, name in enumerate(URGENCY_SHARES)})
    answers, served = live.ask_one_version(TEXTS, failures_allowed=0, on_progress=lambda done: None)
    assert [answer.error for answer in answers if answer.label is None] == []
    assert served is not None
    assert (served.tag, served.revision) == (version["model_version"], version["model_revision"])


# --- the audit log


def keyed(text: str) -> str:
    return hmac.new(SECRETS["AUDIT_KEY"].encode(), text.encode(), "sha256").hexdigest()


def test_each_prediction_leaves_a_line_with_a_keyed_hash_in_place_of_the_text(
    pinned: Space, hub: LocalHub
) -> None:
    pinned.health()
    before, seen = datetime.now(UTC), len(pinned.audited)
    texts = ["बत्ती छैन", "No light"]
    _, answers = pinned.ask("/predict", {"text": texts}, "open-sesame")
    lines = pinned.audited[seen:]
    for text, answer, line in zip(texts, answers, lines, strict=True):
        assert before.replace(microsecond=0) <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
        assert line == {
            "text_hmac": keyed(text),
            "label": answer["label"],
            "confidence": round(answer["confidence"], 3),
            "model_version": None,
            "model_revision": commit(hub, "main"),
        }


def test_without_a_key_the_hashes_can_be_compared_with_each_other_and_with_nothing_else(space: Space) -> None:
    space.health()
    seen = len(space.audited)
    space.ask("/predict", {"text": ["No light", "No light", "no light"]})
    first, same, other = [line["text_hmac"] for line in space.audited[seen:]]
    assert first == same != other
    assert first not in (keyed("No light"), hashlib.sha256(b"No light").hexdigest())


def test_what_is_refused_leaves_no_line(space: Space) -> None:
    space.health()
    seen = space.audited
    space.ask("/predict", {"text": ["No light", ""]})
    assert space.audited == seen


# --- retraining


@pytest.fixture
def paused(hub: LocalHub, pinned: Space) -> Iterator[HfApi]:
    """The retrain Space between two runs, and a Space that may start the next."""
    pinned.health()
    api = HfApi(endpoint=hub.url, token="hf_owner")
    api.pause_space(RETRAIN_SPACE)
    yield api
    hub.faults.clear()


def test_retrain_restarts_the_space_once_and_says_409_while_a_run_is_on(paused: HfApi, pinned: Space) -> None:
    assert pinned.ask("/retrain", {}, "once-more") == (202, {"space_id": RETRAIN_SPACE, "stage": "RUNNING"})
    assert paused.get_space_runtime(RETRAIN_SPACE).stage == "RUNNING"
    assert pinned.ask("/retrain", {}, "once-more") == (409, documented("retrain", 409))


@pytest.mark.parametrize("stage", ["BUILDING", "APP_STARTING", "RUNNING_BUILDING", "RUNNING_APP_STARTING"])
def test_a_run_that_is_about_to_begin_is_on(paused: HfApi, pinned: Space, hub: LocalHub, stage: str) -> None:
    space = hub.space_host.space(RETRAIN_SPACE)
    space.stage, before = stage, space.stage
    hub.requests.clear()
    status, answer = pinned.ask("/retrain", {}, "once-more")
    space.stage = before
    assert status == 409
    assert "a run is on" in answer["detail"]
    assert not [request for request in hub.requests if request.path.endswith("/restart")]


def test_of_two_who_ask_for_a_run_at_a_time_one_gets_it(paused: HfApi, pinned: Space, hub: LocalHub) -> None:
    held = hub.faults.add(path="/restart", delay=60)
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(pinned.ask, "/retrain", {}, "once-more") for _ in range(2)]
        assert pinned.ask("/health")[0] == 200
        assert not any(each.done() for each in both)  # who asks for something else does not wait for the Hub
        held.released.set()
    assert sorted(each.result()[0] for each in both) == [202, 409]


@pytest.mark.parametrize("token", [None, "once-mor", "open-sesame", "hf_owner"])
def test_retrain_is_for_the_bearer_of_its_own_token(paused: HfApi, pinned: Space, token: str | None) -> None:
    assert pinned.ask("/retrain", {}, token) == (401, documented("retrain", 401))
    assert paused.get_space_runtime(RETRAIN_SPACE).stage == "PAUSED"


@pytest.mark.parametrize(
    "fault",
    [
        {"path": "/runtime", "drop": True},
        {"path": "/runtime", "status": 429, "headers": {"Retry-After": "1"}},
        {"path": "/restart", "status": 500},
        {"path": "/restart", "lose_answer": True},
    ],
)
def test_a_hub_that_is_away_for_a_moment_is_asked_again(
    paused: HfApi, pinned: Space, hub: LocalHub, fault: dict[str, Any]
) -> None:
    met = hub.faults.add(**fault)
    assert pinned.ask("/retrain", {}, "once-more") == (202, {"space_id": RETRAIN_SPACE, "stage": "RUNNING"})
    assert met.hits == 1


def test_a_caller_is_not_kept_while_the_hub_limits_its_requests(
    paused: HfApi, pinned: Space, hub: LocalHub
) -> None:
    hub.faults.add(path="/runtime", status=429, headers={"RateLimit": '"api";r=0;t=200'})
    request = urllib.request.Request(f"{pinned.url}/retrain", b"", {"Authorization": "Bearer once-more"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert (caught.value.code, caught.value.headers["Retry-After"]) == (502, "200")


@pytest.mark.parametrize(
    "fault",
    [
        {"path": "/runtime", "drop": True},
        {"path": "/restart", "status": 503},
        {"path": "/restart", "status": 403},
    ],
)
def test_a_hub_that_is_away_or_refuses_is_a_502_without_a_secret(
    paused: HfApi, pinned: Space, hub: LocalHub, fault: dict[str, Any]
) -> None:
    hub.faults.add(**fault, times=None)
    status, answer = pinned.ask("/retrain", {}, "once-more")
    assert status == 502
    assert re.fullmatch(rf"the Hub did not restart {RETRAIN_SPACE} \(\w+\)", answer["detail"])


def test_without_a_trigger_token_there_is_no_retrain(space: Space, pinned: Space) -> None:
    space.health()
    assert space.ask("/retrain", {}, "")[0] == 404
    assert list(space.ask("/openapi.json")[1]["paths"]) == ["/", "/health", "/predict"]
    assert "/retrain" in pinned.ask("/openapi.json")[1]["paths"]


# --- the documentation


def documented(endpoint: str, status: int, name: str | None = None) -> Any:
    """An answer as the OpenAPI shows it."""
    responses = json.loads((APP / "api_examples.json").read_text(encoding="utf-8"))[endpoint]
    shown = responses[str(status)]["content"]["application/json"]
    return shown["examples"][name]["value"] if name else shown["example"]


def shape(value: Any) -> Any:
    """A value's form: the keys of an answer, and how many answers there are."""
    return [shape(each) for each in value] if isinstance(value, list) else sorted(value)


def test_the_examples_of_the_openapi_are_what_the_api_takes_and_gives(pinned: Space) -> None:
    pinned.health()
    predict = pinned.ask("/openapi.json")[1]["paths"]["/predict"]["post"]
    asked = predict["requestBody"]["content"]["application/json"]["examples"]
    answers = {name: pinned.ask("/predict", each["value"], "open-sesame") for name, each in asked.items()}
    assert {status for status, _ in answers.values()} == {200}
    assert (
        shape(answers["nepali"][1])
        == shape(answers["english"][1])
        == shape(documented("predict", 200, "text"))
    )
    assert shape(answers["list"][1]) == shape(documented("predict", 200, "list"))
    assert sorted(predict["responses"]) == ["200", "400", "401", "408", "413", "422", "503"]


@pytest.mark.parametrize(
    ("status", "name"), [(200, "ok"), (200, "waiting"), (503, "starting"), (503, "away"), (503, "none")]
)
def test_the_states_of_the_openapi_have_the_keys_of_the_api(space: Space, status: int, name: str) -> None:
    assert shape(documented("health", status, name)) == shape(space.health())


@pytest.mark.parametrize(
    ("name", "text"),
    [("empty", ["No light", ""]), ("too many", ["No light"] * 65), ("too long", "x" * 10_001)],
)
def test_the_errors_of_the_openapi_are_those_of_the_api(space: Space, name: str, text: Any) -> None:
    space.health()
    assert space.ask("/predict", {"text": text}) == (422, documented("predict", 422, name))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands use curl")
def test_the_commands_of_the_readme_are_answered_as_it_shows(paused: HfApi, pinned: Space) -> None:
    readme = (APP / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(.*?)```\n\n(?:```json\n(.*?)```)?", readme, re.DOTALL)
    assert len(commands) == 4
    environment = {"PATH": os.environ["PATH"], "SPACE": pinned.url} | SECRETS
    for command, shown in commands:
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=True)
        answer = json.loads(done.stdout)
        assert not shown or list(answer) == list(json.loads(shown))
