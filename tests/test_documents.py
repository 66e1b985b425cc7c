"""The documents keep their word: every command in them runs, every link and every name in them exists."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from markdown_it import MarkdownIt
from markdown_it.token import Token

from configs import BaseConfig, get_config
from docs.settings_table import README, with_table
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from rehearsal.world import push_splits
from retrain.evaluation.comparison import save_comparison
from retrain.hub.versions import list_versions
from retrain.records import Comparison, GateRules
from retrain.reporting.history import publish_run
from retrain.setup.plan import BUILD, OURS, VARIABLES
from tests.conftest import SOURCE, LiveAPI
from tests.test_configs import NEEDED

TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=SOURCE,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()
FILES = [name for name in TRACKED if (SOURCE / name).is_file()]
# The model card is a template; the README comes first, as people read it first.
DOCUMENTS = sorted(
    (name for name in FILES if name.endswith(".md") and name != "retrain/hub/model_card.md"),
    key=lambda name: (name != "README.md", name),
)
CODE = {name: (SOURCE / name).read_text(encoding="utf-8") for name in FILES if name.endswith(".py")}
ALL_BUT_TESTS = "\n".join(text for name, text in CODE.items() if not name.startswith("tests/"))

INLINE_COMMAND = re.compile(
    r"(\w+=\S+ )*(\.|set|make|python3?|pip|git|sh|bash|docker|podman|buildah|hf|apt-get|curl|openssl|"
    r"torchrun|ruff|pytest) .+"
)
SHOWN_ONLY = {"text", "json"}  # what comes out, and no command


class Command(NamedTuple):
    """A command that a document tells people to type, and where."""

    document: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


def tokens_of(document: str) -> Iterator[tuple[Token, int]]:
    """Every token, the inline ones too, and its line."""
    parser = MarkdownIt().enable("table")
    line = 0
    for token in parser.parse((SOURCE / document).read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else line
        yield token, line
        within = line
        for child in token.children or ():
            within += child.type in ("softbreak", "hardbreak")
            yield child, within


def commands_in(document: str) -> Iterator[Command]:
    for token, line in tokens_of(document):
        if token.type == "code_inline" and INLINE_COMMAND.fullmatch(token.content):
            yield Command(document, line, token.content)
        elif token.type == "fence" and token.info == "console":
            for number, text in enumerate(token.content.splitlines(), line + 1):
                if text.startswith("$ "):
                    yield Command(document, number, re.sub(r"\s+# .*", "", text.removeprefix("$ ")))
        elif token.type in ("fence", "code_block") and token.info not in SHOWN_ONLY:
            yield Command(document, line, token.content.strip())


COMMANDS = [command for document in DOCUMENTS for command in commands_in(document)]
RUN_HERE: list[str] = []

# What is too long or too large to be run here; and what runs it: a test or a file, and the words that do.
RUN_ELSEWHERE: dict[str, tuple[str, ...]] = {
    # continuous integration
    r"(make test|python -m pytest)": (".ci/run", "make test"),
    r"(make lint|ruff format --check \.|ruff check \.|mypy|lint-imports|hadolint .*|actionlint)": (
        ".ci/run",
        "make lint",
    ),
    # what has to ask a registry
    r"(make lock|uv pip compile .*)": (".github/workflows/image.yml", "make lock"),
    r"(make audit|pip-audit .*)": (".github/workflows/image.yml", "make audit"),
    # what the image is made of
    r"(make sbom|cyclonedx-py requirements .*)": (
        "tests/test_supply_chain.py::test_the_bill_of_materials_names_every_package_with_its_hashes",
        "cyclonedx_py",
    ),
    r"(make licenses|pip-licenses .*)": (
        "tests/test_supply_chain.py::test_the_licence_of_every_package_on_linux_is_listed",
        "piplicenses",
    ),
    r"apt-get install chromium": (".ci/run", "apt-get install", "chromium"),
    # minutes of a real model; there with few steps of a tiny one
    r"python -m benchmarks\.training speed.*": (
        "tests/test_benchmarks.py::test_the_training_benchmark_compares_both_recipes_on_the_same_batches",
        '"benchmarks.training", "speed"',
    ),
    # an image; there its command and its env file, as docker reads it
    r"docker run --env-file \.env -p 7860:7860 --gpus all -v [\w-]+:/app/runs grievance-retrain:cuda": (
        "tests/test_three_ways.py::test_the_containers_command_with_an_env_file_does_the_same",
        'parse_dockerfile((SOURCE / "Dockerfile")',
        "as_docker",
    ),
    # a Space with a model; there every block of sh in its README
    r'curl (-X POST )?"\$SPACE/.*': (
        "tests/test_inference_space.py::test_the_commands_of_the_readme_are_answered_as_it_shows",
        "```sh",
        '["sh", "-c", command]',
    ),
}


def runs(pattern: str) -> pytest.MarkDecorator:
    """Give a test the documented commands that it runs, in the order of the documents."""
    RUN_HERE.append(pattern)
    found = [command.text for command in COMMANDS if re.fullmatch(pattern, command.text, re.DOTALL)]
    assert found, f"no document has a command such as {pattern} any more: take its test away"
    return pytest.mark.parametrize("commands", [found], ids=["as written"])


def is_run(command: str) -> bool:
    return any(re.fullmatch(pattern, command, re.DOTALL) for pattern in (*RUN_HERE, *RUN_ELSEWHERE))


class Clone:
    """What a reader has after `git clone` and one make target: the files and .venv; and a Hub to talk to."""

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.folder, self.hub = folder, hub
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, folder / name)
        (folder / ".venv").mkdir()
        for part in Path(sys.prefix).iterdir():
            if part.name != "installed":
                (folder / ".venv" / part.name).symlink_to(part)
        (folder / ".venv" / "installed").touch()
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(folder.parent),
            "PYTHONPATH": str(SOURCE / "tests" / "loopback_only"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        }

    def type(self, *lines: str, **variables: str) -> str:
        """Type the lines into one shell; all must succeed. Returns what they print."""
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines)],
            cwd=self.folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, f"{lines} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def fill_env_file(self, **values: str) -> None:
        """Do as the README says: copy .env.example and fill it in."""
        text = (self.folder / ".env.example").read_text(encoding="utf-8")
        for name, value in values.items():
            text, replaced = re.subn(rf"(?m)^(# )?{name}=\S*", f"{name}={value}", text)
            assert replaced == 1, name
        (self.folder / ".env").write_text(text, encoding="utf-8")


ACTIVATE, JOB_ENVIRONMENT = ". .venv/bin/activate", "set -a; . ./.env; set +a"
TOKEN = "hf_yours_" + "a" * 24
MODEL, SPACE = "your-name/grievance-urgency", "your-name/grievance-urgency-api"
RETRAIN_SPACE = "your-name/grievance-retrain"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    user = {"name": "your-name", "fullname": "You", "orgs": []}
    with LocalHub(tmp_path / "hub", {TOKEN: user}) as hub:
        yield Clone(tmp_path / "clone", hub)


@pytest.fixture
def yours(clone: Clone) -> HfApi:
    return HfApi(endpoint=clone.hub.url, token=TOKEN)


@pytest.fixture
def placeholders(checkpoint: Path, tmp_path: Path) -> Callable[[str], str]:
    """Fills in what stands for a person's own files in a documented command."""
    rows, file = make_grievances(300), tmp_path / "grievances.csv"
    lines = [",".join(f'"{value}"' for value in row.values()) for row in rows]
    file.write_text("\n".join([",".join(rows[0]), *lines]), encoding="utf-8")
    names = {"FOLDER": checkpoint, "FILE.csv": file, "folder": checkpoint, "file.csv": file}
    return lambda text: re.sub(
        r"(?<=[ =])(FOLDER|FILE\.csv|folder|file\.csv)\b", lambda m: str(names[m[1]]), text
    )


# --- commands


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.document}:{command.line}")
def test_every_command_of_the_documents_is_run_by_a_test(command: Command) -> None:
    assert is_run(command.text), (
        f"{command}\nis run by no test: run it here, or say in RUN_ELSEWHERE what does"
    )


@pytest.mark.parametrize(("pattern", "place"), RUN_ELSEWHERE.items())
def test_what_is_run_elsewhere_is_run_there(pattern: str, place: tuple[str, ...]) -> None:
    (file, _, test), words = place[0].partition("::"), place[1:]
    text = (SOURCE / file).read_text(encoding="utf-8")
    if test:
        body = re.search(rf"(?ms)^def {test}\(.*?(?=^\S(?<!\))|\Z)", text)
        assert body, f"{file} has no {test}"
        text = body[0]
    assert all(word in text for word in words), f"{place[0]} does not run {pattern}"
    found = [command for command in COMMANDS if re.fullmatch(pattern, command.text, re.DOTALL)]
    assert found, "no document has it any more: take it away"
    for command in found:
        if module := re.search(r"python -m (\S+)", command.text):
            source = CODE[module[1].replace(".", "/") + ".py"]
            unknown = [
                option for option in re.findall(r" (--[\w-]+)", command.text) if f'"{option}"' not in source
            ]
            assert not unknown, f"{command}: there is no option {unknown}"


@runs(r"(\w+=\S+ )*make \S+")
def test_every_make_target_of_the_documents_runs_what_a_test_runs(clone: Clone, commands: list[str]) -> None:
    for command in commands:
        for line in (
            clone.type(re.sub(r"\bmake\b", "make --dry-run", command)).replace("\\\n", " ").splitlines()
        ):
            # What builds an image is checked by the image check itself.
            assert "image" in command or is_run(line.removeprefix(".venv/bin/")), f"{command} runs {line}"


@runs(r"(\w+=\S+ )*make rehearsal|python -m rehearsal")
def test_the_rehearsal_ends_with_what_the_readme_shows(
    clone: Clone, commands: list[str], placeholders: Callable[[str], str]
) -> None:
    """All that may stand before it, at once; and settings with which a tiny model is soon through."""
    chosen = dict(re.findall(r"(\w+)=(\S+)", placeholders(" ".join(commands))))
    assert chosen.keys() == {"LABEL", "DATA", "CHECKPOINT"}
    told = clone.type("make rehearsal", **chosen, COMPARE_WITH="hub", NUM_TRAIN_EPOCHS="1")
    shown = next(token.content for token, _ in tokens_of("README.md") if token.info == "text")
    names = re.findall(r"(?m)^│ (\w.*?) +│", shown) + re.findall(r"(?m)^\w.*?(?=: rehearsal_run)", shown)
    assert len(names) > 8
    assert not [name for name in names if name not in told], told
    assert (clone.folder / re.search(r"rehearsal_run/\S+/report\.html", told)[0]).is_file()


@runs(r"\. \.venv/bin/activate|python -m retrain.setup .*")
def test_the_set_up_does_as_the_readme_says(
    clone: Clone, commands: list[str], yours: HfApi, live_api: LiveAPI
) -> None:
    clone.fill_env_file(HF_TOKEN=TOKEN, API_ENDPOINT=live_api.url, ALLOW_FIRST_RELEASE="true")
    row = [{"grievance": "a", "label": "URGENT"}]
    push_splits(
        yours, "your-name/grievances", dict.fromkeys(("train", "eval", "test"), row), "v20250101_000000"
    )
    told = clone.type(*commands)
    assert "would: create the private Space your-name/grievance-retrain" in told
    assert "done: your-name/grievance-retrain: set the secret HF_TOKEN" in told
    assert f"ok  API {live_api.url}: answers NORMAL" in told
    assert "!!" not in told
    assert yours.get_space_runtime(RETRAIN_SPACE).stage == "PAUSED"
    assert "everything is as it should be" in clone.type(ACTIVATE, "python -m retrain.setup .env --yes")


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


@runs(r"python -m (release\.rollout|reporting\.run_history|evaluation\.decision_gate).*")
def test_the_commands_by_hand_tell_and_restore_with_the_environment_of_the_job(
    clone: Clone, commands: list[str], yours: HfApi, live_api: LiveAPI, tmp_path: Path
) -> None:
    clone.fill_env_file(HF_TOKEN=TOKEN, API_ENDPOINT=live_api.url)
    make_space(yours, SPACE)
    yours.create_repo(MODEL, private=True)
    for tag in ("v20250129_143052", "v20250205_101500"):
        metadata = json.dumps({"version_tag": tag, "eval_metrics": {"f1_macro": 0.9}}).encode()
        files = {"metadata.json": metadata, "config.json": b"{}", "model.safetensors": tag.encode()}
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        yours.create_tag(
            MODEL, tag=tag, revision=yours.create_commit(MODEL, operations, commit_message=tag).oid
        )

    def serves_the_newest() -> dict[str, str]:
        newest = list_versions(yours, MODEL)[0]
        return {"model_version": str(newest.tag), "model_revision": newest.revision}

    live_api.about = serves_the_newest
    run = a_run(tmp_path / "20250205_101000_urgency_ab12")
    publish_run(yours, MODEL, run)
    told = clone.type(ACTIVATE, JOB_ENVIRONMENT, *(text.replace("RUN_FOLDER", str(run)) for text in commands))
    assert re.search(r"(?m)^v20250205_101500 +0\.9000 .*serves now$", told)
    assert "v20250129_143052 was restored as" in told
    assert re.search(rf"(?m)^{run.name} +rejected", told)
    assert re.search(r"(?m)^REJECTED$", told)
    restored = yours.hf_hub_download(
        MODEL, "model.safetensors", revision=list_versions(yours, MODEL)[0].revision
    )
    assert Path(restored).read_text() == "v20250129_143052"


def make_space(api: HfApi, name: str) -> None:
    api.create_repo(name, repo_type="space", space_sdk="docker")
    api.upload_file(path_or_fileobj=b"FROM x\n", path_in_repo="Dockerfile", repo_id=name, repo_type="space")


def a_run(folder: Path) -> Path:
    """The folder of a run that was rejected: the two models say the same."""
    folder.mkdir()
    labels = [0, 1, 2] * 30
    answers = [(label + (i % 7 == 0)) % 3 for i, label in enumerate(labels)]
    names = ("NORMAL", "URGENT", "HIGHLY URGENT")
    unsaid = [None] * len(labels)
    comparison = Comparison(names, "api", range(len(labels)), labels, answers, answers, *[unsaid] * 4)
    save_comparison(folder / "comparison.parquet", comparison, GateRules())
    at = "2025-02-05T10:10:00+00:00"
    record = {
        "outcome": "rejected",
        "reasons": [],
        "started_at": at,
        "finished_at": at,
        "folder": str(folder),
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@runs(r"python -m evaluation\.gate_simulation")
def test_the_simulation_prints_the_rows_of_the_readme(clone: Clone, commands: list[str]) -> None:
    def rows(text: str) -> list[str]:
        """What was simulated: the first three columns."""
        return re.findall(r"(?m)^\| (?:true gain|[+-]\d.\d\d) \| \w+ \| [\w %]+ \|", text)

    told = clone.type(ACTIVATE, f"{commands[0]} --draws 1")
    assert len(rows(told)) == 25
    assert rows(told) == rows(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("training", "--train-rows 120 --seeds 1 --epochs 1 --sgemm-size 256"),
        ("memory", "--rows 120"),
        ("live_comparison", "--texts 8"),
        ("inference_load", "--clients 2 --seconds 0.5"),
    ],
)
@runs(r"(\w+=\S+ )*python -m benchmarks\.(training quality|memory|live_comparison|inference_load).*")
def test_a_benchmark_runs_as_its_document_says(
    clone: Clone, commands: list[str], placeholders: Callable[[str], str], name: str, smaller: str
) -> None:
    (command,) = (command for command in commands if f"benchmarks.{name}" in command)
    clone.type(ACTIVATE, f"{placeholders(command)} {smaller}")
    assert ("--json figures.json" in command) == (clone.folder / "figures.json").is_file()


@runs(r"python -m docs\.settings_table --write")
def test_the_table_of_settings_is_that_of_the_code(clone: Clone, commands: list[str]) -> None:
    readme = README.read_text(encoding="utf-8")
    assert readme == with_table(readme), f"the settings have changed: {commands[0]}"
    clone.type(ACTIVATE, commands[0])
    assert (clone.folder / "README.md").read_text(encoding="utf-8") == readme


@runs(r"openssl .*")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="a key is made with openssl")
def test_a_key_for_the_audit_log_is_made(clone: Clone, commands: list[str]) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}\n", clone.type(commands[0]))


# --- settings


def example_settings() -> dict[str, tuple[str, bool]]:
    """Of .env.example, by name: the value, and whether the part it stands in says that it is the default."""
    found, is_default = {}, False
    for line in (SOURCE / ".env.example").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ---"):
            is_default = line.endswith("with their defaults")
        elif setting := re.fullmatch(r"(?:# )?([A-Z0-9_]+)=(\S*)(?: +# .*)?", line):
            assert setting[1] not in found, f"{setting[1]} stands there twice"
            found[setting[1]] = (setting[2], is_default)
    return found


def test_the_example_env_file_names_every_setting_and_no_other() -> None:
    fields = {name.upper() for name in BaseConfig.model_fields}
    assert example_settings().keys() == fields | OURS | set(BUILD)


def test_the_defaults_of_the_example_env_file_are_those_of_the_code() -> None:
    example = example_settings()
    needed = {name: example[name][0] for name in NEEDED}
    without = get_config(needed)
    defaults = {name: value for name, (value, is_default) in example.items() if is_default}
    assert len(defaults) > 20
    for name, value in defaults.items():
        with_it = get_config(needed | {name: value})
        default = getattr(without, name.lower())
        assert bool(value) == (default is not None), name
        assert getattr(with_it, name.lower()) == default, name


def test_every_setting_has_a_description() -> None:
    assert not [name for name, field in BaseConfig.model_fields.items() if not field.description]


def test_the_readme_names_what_libraries_read_and_the_set_up_passes_on() -> None:
    fields = {name.upper() for name in BaseConfig.model_fields}
    readme = README.read_text(encoding="utf-8")
    assert not [name for name in VARIABLES - fields if f"`{name}`" not in readme]


# --- names and links


def code_of(document: str) -> Iterator[tuple[str, int]]:
    """What stands in backticks, and its line."""
    return ((token.content, line) for token, line in tokens_of(document) if token.type == "code_inline")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_variable_that_a_document_names_is_one_that_the_code_reads(document: str) -> None:
    for text, line in code_of(document):
        if not (variable := re.fullmatch(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=(\S+))?", text)):
            continue
        name, value = variable.groups()
        known = name in OURS or re.search(rf"\b({name}|{name.lower()})\b", ALL_BUT_TESTS)
        assert known, f"{document}:{line}: {name}"
        if value and name.lower() in BaseConfig.model_fields:
            get_config(NEEDED | {name: value})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_function_that_a_document_names_exists(document: str) -> None:
    """A file of the repository, from its root or beside the document; or one that the code writes."""
    folders = {str(parent) for name in FILES for parent in Path(name).parents}
    for text, line in code_of(document):
        if re.fullmatch(r"[\w.][\w./-]*(/|\.(py|md|jsonl?|html|parquet|log|toml|txt|ya?ml|svg|png))", text):
            paths = {os.path.normpath(text), os.path.normpath(Path(document).parent / text)}
            written = f'"{text.rstrip("/")}"' in ALL_BUT_TESTS
            assert paths & {*FILES, *folders} or written, f"{document}:{line}: {text}"
        elif re.fullmatch(r"[a-z]+(_[a-z]+)+", text):
            assert re.search(rf"\b{text}\b", ALL_BUT_TESTS) or f"{text}.py" in FILES, (
                f"{document}:{line}: {text}"
            )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_picture_of_a_document_is_there(document: str) -> None:
    folders = {str(parent) for name in FILES for parent in Path(name).parents}
    for token, line in tokens_of(document):
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if not target or re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = os.path.normpath(Path(document).parent / path) if path else document
        assert there in {*FILES, *folders}, f"{document}:{line}: {target}"
        assert not anchor or anchor in anchors_of(there), f"{document}:{line}: {target}"


def anchors_of(document: str) -> set[str]:
    """The headings' anchors, as GitHub and the Hub make them."""
    tokens = [token for token, _ in tokens_of(document)]
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
