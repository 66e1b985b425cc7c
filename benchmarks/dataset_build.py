"""How long a version of a data set takes, from N complaints to the local Hub, and how much memory.

    python -m benchmarks.dataset_build --rows 100000 [--source file]

The source is a PostgreSQL started for it, or a CSV file. The exit code is 1 if what was published is not what
was asked for. Shown are the stages of the run, the cost of each step of a text by itself, and the memory of
the largest process.
"""

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rehearsal  # noqa: F401  sets the client's switches before the client is imported
from rehearsal.city_database import Cluster, add_complaints, add_corrections
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from retrain.processes import free_port

SOURCE = Path(__file__).parent.parent
SPACE = SOURCE / "companion_spaces" / "prepare_dataset"
TOKEN = "hf_benchmark_" + "a" * 24
USERS = {TOKEN: {"name": "city", "fullname": "City", "orgs": []}}
SHARE, CORRECTED, REPEATED = 0.2, 0.02, 0.05
TIMED = 5_000  # texts by which a step is timed
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def complaints(count: int) -> Iterator[dict[str, Any]]:
    """Made-up complaints, some of them sent again with a word more."""
    rng, base = random.Random(1), make_grievances(4_000)
    words = [word for row in base for word in row["grievance"].split()]
    before: dict[str, Any] = {}
    for number in range(count):
        row = base[number % len(base)]
        text = f"{row['grievance']} {' '.join(rng.choices(words, k=12))}"
        if before and rng.random() < REPEATED:
            text = f"{before['message']} {number % 10}"
        before = {
            "id": number,
            "message": text,
            "urgency": row["urgency"],
            "department": row["department"],
            "created_at": BEGIN + timedelta(seconds=number),
        }
        yield before


def main() -> int:
    """Fill a source, prepare, and show what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset_build", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--source", choices=("database", "file"), default="database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalHub(Path(folder) / "hub", USERS) as hub:
        settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, (SOURCE, SOURCE / "companion_spaces"))),
            "HOME": folder,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            "LABEL": "urgency",
            "DATASET_REPO_ID": "city/grievances",
            "SPLIT_KEY": "a key of the benchmark",
            "AUDIT_PROBABILITY": str(SHARE),
            "RUN_DIR": f"{folder}/runs",
            "PORT": str(free_port()),
        }
        if options.source == "file":
            return prepare(
                settings | {"SOURCE": write_file(Path(folder), options.rows)}, Path(folder), options.rows
            )
        with Cluster() as cluster:
            url = cluster.create("city")
            add_complaints(url, complaints(options.rows))
            add_corrections(url, corrections(options.rows))
            return prepare(settings | {"DATABASE_URL": url}, Path(folder), options.rows)


def corrections(count: int) -> Iterator[dict[str, Any]]:
    """A reviewed correction for some of the complaints."""
    for number in random.Random(2).sample(range(count), int(count * CORRECTED)):
        yield {
            "complaint_id": number,
            "correct_urgency": "URGENT",
            "reviewed": True,
            "reviewed_at": BEGIN + timedelta(seconds=number),
        }


def write_file(folder: Path, count: int) -> str:
    file = folder / "complaints.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, ["id", "message", "urgency", "department", "created_at"])
        writer.writeheader()
        writer.writerows(complaints(count))
    return str(file)


def prepare(settings: Mapping[str, str], folder: Path, count: int) -> int:
    """One run; returns 1 if what it published is not the sample that it was asked for."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(SPACE / "prepare_dataset.py")], env=settings, capture_output=True
    )
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    record = json.loads(next((folder / "runs").glob("*/run.json")).read_text(encoding="utf-8"))
    (made,) = record["prepared"]
    rows = sum(made["split_sizes"].values())
    print(f"{count:,} complaints: {record['outcome']}, {rows:,} rows in {seconds:.0f} s, {memory:.2f} GiB")
    stages = record["stages"]
    ends = [each["started_at"] for each in stages[1:]] + [record["finished_at"]]
    for stage, end in zip(stages, ends, strict=True):
        took = datetime.fromisoformat(end) - datetime.fromisoformat(stage["started_at"])
        print(f"  {stage['name']}: {took.total_seconds():.1f} s")
    show_steps()
    expected = SHARE * count
    return int(done.returncode != 0 or not 0.8 * expected < rows < 1.5 * expected)


def show_steps() -> None:
    """The cost of each step of a text, in one process."""
    sys.path[:0] = [str(SOURCE / "companion_spaces"), str(SPACE)]
    from common.cleaning import clean
    from common.masking import mask
    from preparation.texts import hash_of, signature

    texts = [row["message"] for row in complaints(TIMED)]
    for name, step in (
        ("clean", clean),
        ("mask", mask),
        ("hash", lambda t: hash_of(t, b"k")),
        ("sign", signature),
    ):
        began = time.perf_counter()
        for text in texts:
            step(text)
        print(f"  {name}: {(time.perf_counter() - began) / len(texts) * 1e6:.0f} µs a text")


if __name__ == "__main__":
    sys.exit(main())
