"""`python -m rehearsal`: the whole job on this machine, watched from a terminal.

From the environment: LABEL (and LABELS for a label set of your own), DATA (a file of your own rows),
CHECKPOINT (a folder), KEEP=1 (leave all of it running until Ctrl-C), and the job's training settings.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs import LABEL_SETS
from retrain.architectures import refusal
from retrain.commands import label_settings
from retrain.errors import CheckpointError, DatasetError, RetrainError, SettingsError
from retrain.journal import Journal
from retrain.lifecycle.status_page import serve
from retrain.run_record import RunRecord
from retrain.words import in_words

from .world import (
    INFERENCE_SPACE,
    MODEL,
    RETRAIN_SPACE,
    TOKEN,
    World,
    chosen_settings,
    first_and_second_version,
    read_grievances,
)

ROOT = Path("rehearsal_run")
# Suits a model of a few hundred thousand parameters; your own checkpoint gets the job's defaults.
TINY = {
    "LEARNING_RATE": "0.002",
    "EVAL_STEPS": "60",
    "EARLY_STOPPING_PATIENCE": "3",
    "NUM_TRAIN_EPOCHS": "3",
    "MIN_TRAIN_STEPS": "300",  # a first version that has learnt something of either label set
    "PRECISION": "fp32",  # the same on every machine, and faster for a tiny model
}
OVER = ("PAUSED", "RUNTIME_ERROR", "BUILD_ERROR")
WORDS = {
    "stage": "[cyan]{name}[/]",
    "dataset": "  {repo_id} {version_tag} at {revision:.8}: {sizes}",
    "progress": "  step {done:>4} of {total}   loss {loss:.4f}",
    "asked": "  {done} of {total} rows asked",
    "waiting": "  {state}",
    "validation": "  step {step:>4} of {total}   validation macro F1 [bold]{f1_macro:.4f}[/]",
    "test_scores": "  test macro F1 {f1_macro:.4f}, accuracy {accuracy:.4f}",
    "verdict": "  [bold]{outcome}[/]: {reasons[0]}",
    "release": "  {version_tag} at {revision:.8}",
    "warning": "[yellow]{message}[/]",
    "outcome": "[bold]{outcome}[/]",
    "pausing": "the Space pauses itself",
}

console = Console(highlight=False)


def main() -> int:
    """Set the city up, release a first version from few rows, then retrain on all of them."""
    label, labels = os.environ.get("LABEL") or "urgency", os.environ.get("LABELS") or ""
    data, checkpoint = (
        Path(os.environ[name]) if os.environ.get(name) else None for name in ("DATA", "CHECKPOINT")
    )
    try:
        rows = read_grievances(data, label, label_set(label, labels))
        check_rows(rows, label, data)
        if checkpoint:
            check_folder(checkpoint)
    except RetrainError as error:
        raise SystemExit(str(error)) from None
    logging.disable(logging.WARNING)
    began = time.monotonic()
    shutil.rmtree(ROOT, ignore_errors=True)
    with World(ROOT.resolve(), label, labels) as world:
        record = play(world, rows, checkpoint)
        show(world, record, time.monotonic() - began)
        if os.environ.get("KEEP"):
            keep(world, Path(record["folder"]))
    return 0 if record["outcome"] in ("accepted", "rejected") else 1


def label_set(label: str, labels: str) -> dict[str, int]:
    """The ids of a label set of ours, or of the one that LABELS names."""
    if label not in LABEL_SETS and not labels:
        raise SettingsError(
            f"LABEL={label!r}: should be {' or '.join(LABEL_SETS)}, or your own with its names in LABELS and "
            f"a column {label} in DATA."
        )
    return label_settings({"LABEL": label, "LABELS": labels}).label2id


def check_rows(rows: list[dict[str, str]], label: str, data: Path | None) -> None:
    """See, before anything is trained, that both versions have each label in each split."""
    for version in first_and_second_version(rows, len(rows) // 3, label):
        for name, split in version.items():
            held = {row[label] for row in split}
            if absent := sorted({row[label] for row in rows} - held):
                raise DatasetError(
                    f"DATA={data}: its {len(rows)} rows are too few. Split in train, eval and test, there is "
                    f"no row of {', '.join(absent)} in {name}. Add rows: ten or more of each label."
                )


def check_folder(checkpoint: Path) -> None:
    """See that a checkpoint is a folder with an XLM-R in it, as far as its config says."""
    config = checkpoint / "config.json"
    if not config.is_file():
        what = "is a folder without config.json" if checkpoint.is_dir() else "is no folder"
        raise CheckpointError(
            f"CHECKPOINT={checkpoint} {what}. Name a folder with the config, tokenizer and safetensors of an "
            "XLM-R, as save_pretrained writes them."
        )
    try:
        why = refusal(json.loads(config.read_bytes()))
    except (ValueError, AttributeError):
        why = "has a config.json that is no JSON object. Save it anew"
    if why:
        raise CheckpointError(f"CHECKPOINT={checkpoint} {why}.")


def keep(world: World, run_folder: Path) -> None:
    """Leave the Hub, the Spaces and the page of the last run to be looked at, until Ctrl-C."""
    listener = socket.create_server(("127.0.0.1", 0))  # somebody may have taken the port of the paused Space
    serve(listener, Journal(run_folder))
    page = f"127.0.0.1:{listener.getsockname()[1]}"
    console.print("\n[bold]KEEP[/]: all of this is there until Ctrl-C")
    for what, where in (("the run", page), ("the API", world.domain(INFERENCE_SPACE))):
        console.print(f"   {what}: http://{where}/")
    console.print(f"   the Hub: {world.hub.url}, with HF_TOKEN={TOKEN}", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def play(world: World, rows: list[dict[str, str]], checkpoint: Path | None) -> dict[str, Any]:
    """Release a first version, then retrain on more; returns the record of the last run."""
    console.print(f"[bold]A city on this machine[/]: local Hub at {world.hub.url}, everything in {ROOT}/")
    settings = chosen_settings()
    if checkpoint is None:
        from .tiny_checkpoint import make_checkpoint

        checkpoint = make_checkpoint(ROOT / "checkpoint", [row["grievance"] for row in rows])
        settings = TINY | settings
    world.push_checkpoint(checkpoint)
    first, second = first_and_second_version(rows, len(rows) // 3, world.label)
    world.push_data(first, "v20250101_000000")
    world.create_spaces(settings | {"ALLOW_FIRST_RELEASE": "true"})
    console.print(f"{len(rows)} grievances, base checkpoint and two Spaces are on the Hub\n")

    console.print("[bold]1. A first version[/], from a third of the grievances")
    world.api.restart_space(RETRAIN_SPACE)
    console.print(f"   its page: http://{world.domain(RETRAIN_SPACE)}/")
    record = watch(world)
    if record["outcome"] == "accepted":
        console.print("\n[bold]2. Officers have corrected more[/]: the retrain Space is restarted")
        world.push_data(second, "v20250201_000000")
        world.api.delete_space_variable(RETRAIN_SPACE, "ALLOW_FIRST_RELEASE")
        world.api.restart_space(RETRAIN_SPACE)
        record = watch(world)
    elif record["outcome"] == "rejected":
        console.print(
            f"\nThe first version was not released, so there is none to compare with. It had "
            f"{len(first['train'])} rows to learn from: add rows, or let it train longer (NUM_TRAIN_EPOCHS, "
            "MIN_TRAIN_STEPS).",
            soft_wrap=True,
        )
    return record


def watch(world: World) -> dict[str, Any]:
    """Show the run's events as they happen, until the Space has paused itself; returns the run's record."""
    known = set(world.root.glob("runs/*/events.jsonl"))
    while not (started := set(world.root.glob("runs/*/events.jsonl")) - known):  # its port opens before that
        if world.host.wait_stage(RETRAIN_SPACE, {"RUNNING", *OVER}, timeout=120) in OVER:
            console.print(world.host.log_path(RETRAIN_SPACE).read_text())
            raise SystemExit("The retrain Space did not start a run; above is its log.")
        time.sleep(0.1)
    journal = started.pop()
    for event in follow(world, journal):
        line = describe(event)
        if line:
            console.print(f"   {event['time'][11:19]}  {line}")
    record: dict[str, Any] = json.loads(journal.with_name("run.json").read_text(encoding="utf-8"))
    return record


def follow(world: World, file: Path) -> Iterator[dict[str, Any]]:
    """The events of a run as they are written, until its process has ended."""
    with file.open(encoding="utf-8") as lines:
        over = False
        while True:
            line = lines.readline()
            if line.endswith("\n"):
                yield json.loads(line)
            elif over:
                return
            else:
                over = world.api.get_space_runtime(RETRAIN_SPACE).stage in OVER
                time.sleep(0.2)


def describe(event: dict[str, Any]) -> str | None:
    """An event in a few words; None if it need not be shown."""
    name = event["event"]
    if name == "progress" and "total" not in event:
        name = "waiting"
    elif name == "progress" and "loss" not in event and event["stage"] == "compare":
        name = "asked" if event["done"] == event["total"] else "asking"
    elif name == "dataset":
        event["sizes"] = ", ".join(f"{split} {size}" for split, size in event["split_sizes"].items())
    elif name == "progress" and "loss" not in event:
        return None
    return WORDS[name].format_map(event) if name in WORDS else None


def show(world: World, record: dict[str, Any], seconds: float) -> None:
    """Print the result as a table, and where to find the details."""
    verdict = record.get("verdict") or {}
    release = record.get("release") or {}
    table = Table(title="\nThe run", show_header=False, title_justify="left")
    table.add_row("verdict", f"[bold]{record['outcome']}[/]")
    words = in_words(RunRecord.parse(record) or RunRecord())
    for reason in words.reasons:
        table.add_row("", reason)
    if verdict.get("delta") is not None:
        new = f"{verdict['f1_macro_candidate']:.4f} on {verdict['rows_compared']} rows"
        table.add_row("macro F1, new model", new)
        table.add_row("macro F1, live model", f"{verdict['f1_macro_live']:.4f} on the same rows")
        table.add_row("gain", f"{verdict['delta']:+.4f}")
    for place, sentence in enumerate(words.how_sure):
        table.add_row("" if place else "how sure is this?", sentence)
    table.add_row("version", release.get("version_tag", "none published"))
    tags = [tag.name for tag in world.api.list_repo_refs(MODEL).tags]
    versions = sorted(tag for tag in tags if tag.startswith("v2"))
    table.add_row("versions on the Hub", ", ".join(versions) or "none")
    table.add_row("retrain Space", world.api.get_space_runtime(RETRAIN_SPACE).stage.lower())
    table.add_row("time", f"{seconds:.0f} s in all")
    console.print(table)
    folder = Path(record["folder"]).relative_to(Path.cwd())
    console.print(f"Its report, for a browser: {folder}/report.html", soft_wrap=True)
    console.print(f"Everything about it: {folder}/run.json", soft_wrap=True)
    console.print(f"Logs of the Spaces, repositories (bare git): {ROOT}/hub/")


if __name__ == "__main__":
    sys.exit(main())
