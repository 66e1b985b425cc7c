"""The README's way onto the Hub: set up, check, restart."""

from collections.abc import Callable

from huggingface_hub import HfApi

from rehearsal.world import push_splits
from tests.conftest import LiveAPI, tiny_splits
from tests.documents.commands import runs
from tests.documents.conftest import ACTIVATE, JOB_ENVIRONMENT, RETRAIN_SPACE, TOKEN, Clone, make_space


@runs(r"\. \.venv/bin/activate|python -m retrain (setup|check).*")
def test_the_set_up_does_as_the_readme_says(
    clone: Clone, commands: list[str], yours: HfApi, live_api: LiveAPI
) -> None:
    clone.fill_env_file(HF_TOKEN=TOKEN, API_ENDPOINT=live_api.url, ALLOW_FIRST_RELEASE="true")
    push_splits(yours, "your-name/grievances", tiny_splits(), "v20250101_000000")
    told = clone.type(*commands)
    assert "would: create the private Space your-name/grievance-retrain" in told
    assert "done: your-name/grievance-retrain: set the secret HF_TOKEN" in told
    assert f"ok  API {live_api.url}: answers NORMAL" in told
    assert "!!" not in told
    assert yours.get_space_runtime(RETRAIN_SPACE).stage == "PAUSED"
    assert "everything is as it should be" in clone.type(ACTIVATE, "python -m retrain setup .env --yes")


@runs(r"python -m retrain push .*|from datasets import load_dataset.*")
def test_a_file_is_pushed_as_the_readme_says(
    clone: Clone, commands: list[str], yours: HfApi, placeholders: Callable[[str], str]
) -> None:
    """With the command, and then with the library: the loader reads both, in the order of the README."""
    push, snippet = commands
    clone.fill_env_file(HF_TOKEN=TOKEN)
    told = clone.type(ACTIVATE, f"echo y | {placeholders(push)}")
    assert "your-name/grievances has the version v2" in told
    assert yours.dataset_info("your-name/grievances").private
    for name, rows in tiny_splits().items():
        lines = ["grievance,label", *(f"{row['grievance']},{row['label']}" for row in rows)]
        file = clone.folder / {"eval": "validation.csv"}.get(name, f"{name}.csv")
        file.write_text("\n".join(lines), encoding="utf-8")
    yours.delete_repo("your-name/grievances", repo_type="dataset")
    clone.type(ACTIVATE, 'python -c "$SNIPPET"', SNIPPET=snippet, HF_TOKEN=TOKEN)
    checked = clone.type(ACTIVATE, "python -m retrain check .env || true")
    assert "(train 3, eval 3, test 3 rows); eval is read from validation" in checked


@runs(r"set -a; .*|from huggingface_hub import .*restart_space.*")
def test_the_snippet_restarts_the_space_with_the_environment_of_the_job(
    clone: Clone, commands: list[str], yours: HfApi
) -> None:
    clone.fill_env_file(HF_TOKEN=TOKEN)
    make_space(yours, RETRAIN_SPACE)
    assert JOB_ENVIRONMENT in commands
    (snippet,) = (command for command in commands if command != JOB_ENVIRONMENT)
    clone.type(ACTIVATE, JOB_ENVIRONMENT, 'python -c "$SNIPPET"', SNIPPET=snippet)
    asked = [(r.method, r.path, r.status) for r in clone.hub.requests]
    assert ("POST", f"/api/spaces/{RETRAIN_SPACE}/restart", 200) in asked
