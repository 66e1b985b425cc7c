"""What a reviewer types."""

import subprocess
import sys
from pathlib import Path

from common.feedback_store import FeedbackStore
from tests.conftest import CITY, SOURCE
from tests.documents.commands import runs


@runs(r"python -m retrain review --as \w+")
def test_the_command_of_the_operator_reviews_in_the_database_of_the_env_file(
    database: str, tmp_path: Path, commands: list[str]
) -> None:
    store = FeedbackStore.open(database, tmp_path)
    store.add_feedback("k", {"urgency": "NORMAL"}, "officer", text="खानेपानी")
    (tmp_path / "city.env").write_text(f"HF_TOKEN={CITY}\nFEEDBACK_DATABASE_URL={database}\n")
    done = subprocess.run(
        [sys.executable, *commands[0].split()[1:], "--env-file", str(tmp_path / "city.env")],
        cwd=SOURCE,
        input="a\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "1 decided." in done.stdout
    assert [row["correct_urgency"] for row in store.reviewed()] == ["NORMAL"]
