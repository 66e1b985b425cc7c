"""The run on Weights & Biases. Tracking is best effort: whatever it does, the run goes on.

Without a key or a network the run is tracked offline, in the run's folder. Knows no Hub and no model.
"""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import requests
import wandb

from configs import get_config
from retrain.events import Entry, Progress, Validation
from retrain.journal import Journal
from retrain.records import OUTCOMES, DatasetInfo, Scores, Verdict
from retrain.redaction import Redactor, masked, set_up_logging
from retrain.reporting.summary import is_good, message, title
from retrain.run_record import RunRecord

FINISH_TIMEOUT = 60.0

P = ParamSpec("P")
T = TypeVar("T", bound="Tracker")

logger = logging.getLogger(__name__)


def never_fails(method: Callable[Concatenate[T, P], None]) -> Callable[Concatenate[T, P], None]:
    """Log what W&B raises, whatever it is, instead of failing the run."""

    @functools.wraps(method)
    def guarded(self: T, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if self.run is not None:
                method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 (the library's errors have no common root)
            logger.warning(
                "W&B: %s failed (%s: %s); the run goes on", method.__name__, type(error).__name__, error
            )

    return cast(Callable[Concatenate[T, P], None], guarded)


class Tracker:
    """One W&B run; every method is a no-op if it could not be started."""

    def __init__(
        self,
        project: str,
        api_key: str | None,
        folder: Path,
        config: Mapping[str, Any],
        run_id: str | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.run: Any = None
        self._redact = redact
        self.notified = False
        self.warning: str | None = None
        online = False
        if api_key and not _answers(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")):
            self.warning = "W&B can't be reached: tracked offline"
        elif api_key:
            online = True
        modes: list[Literal["online", "offline"]] = ["online", "offline"] if online else ["offline"]
        for mode in modes:
            try:
                self.run = _start(project, api_key, folder, config, mode, run_id)
                break
            except Exception as error:  # noqa: BLE001 (see never_fails)
                self.warning = f"W&B could not be started {mode} ({type(error).__name__}: {error})"

    @property
    def url(self) -> str | None:
        """The run's page; None offline."""
        return self.run.url if self.run and not self.run.offline else None

    @never_fails
    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Add points to the curves."""
        self.run.log(dict(values), step=step)

    @never_fails
    def log_curves(self, entries: Iterable[Entry]) -> None:
        """Add the points that other processes have put into the journal."""
        for event in (entry.event for entry in entries):
            if isinstance(event, Validation):
                self.run.log({"eval/loss": event.loss, "eval/f1_macro": event.f1_macro}, event.step)
            elif isinstance(event, Progress) and event.loss is not None:
                self.run.log({"train/loss": event.loss}, event.done)

    @never_fails
    def log_scores(self, scores: Scores, reports: Path) -> None:
        """Test scores as a summary, classification report as a table, confusion matrix as a picture."""
        table = wandb.Table(columns=["class", "precision", "recall", "f1", "support"])
        for name, c in scores.per_class.items():
            table.add_data(name, c.precision, c.recall, c.f1, c.support)
        picture = wandb.Image(str(reports / "confusion_matrix.png"))
        self.run.log({"classification_report": table, "confusion_matrix": picture})
        figures = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted")
        self.run.summary.update({f"test/{name}": getattr(scores, name) for name in figures})

    @never_fails
    def log_dataset(self, info: DatasetInfo) -> None:
        """What was trained on, beside the training arguments."""
        self.run.config.update({"dataset": masked(asdict(info), self._redact)})

    @never_fails
    def log_verdict(self, verdict: Verdict) -> None:
        """The comparison and the decision with its reasons."""
        self.run.summary["decision/outcome"] = verdict.outcome
        figures = {
            "decision/reasons": list(verdict.reasons),
            "comparison/rows": verdict.rows_compared,
            "comparison/f1_macro_candidate": verdict.f1_macro_candidate,
            "comparison/f1_macro_live": verdict.f1_macro_live,
            "comparison/delta": verdict.delta,
            "comparison/interval": list(verdict.interval or ()),
            "comparison/probability_of_gain": verdict.probability_of_gain,
            "comparison/mcnemar_p": verdict.mcnemar_p,
            "comparison/with": verdict.compared_with,
            "comparison/failures": verdict.failures,
            "comparison/served": verdict.served and (verdict.served.tag or verdict.served.revision),
            "decision/rules": {rule.name: rule.passed for rule in verdict.rules},
            "decision/warnings": list(verdict.warnings),
        }
        self.run.summary.update(masked(figures, self._redact))

    @never_fails
    def alert(self, title: str, text: str) -> None:
        """Warn people while the run goes on."""
        self.run.alert(title=self._redact(title), text=self._redact(text), level="WARN")

    @never_fails
    def finish(self, record: RunRecord) -> None:
        """Send the summary as an alert and close the run, within a time."""
        outcome = record.outcome or "bug"
        level = "INFO" if is_good(record) else "ERROR"
        self.run.alert(title=title(record), text=message(record), level=level)
        self.run.summary["outcome"] = outcome
        self.run.finish(exit_code=OUTCOMES[outcome].exit_code)
        self.notified = True


def _start(
    project: str,
    api_key: str | None,
    folder: Path,
    config: Mapping[str, Any],
    mode: Literal["online", "offline"],
    run_id: str | None,
) -> wandb.Run:
    return wandb.init(
        project=project,
        id=run_id,
        resume="allow" if run_id else None,
        dir=folder,
        config=dict(config),
        mode=mode,
        settings=wandb.Settings(
            api_key=api_key if mode == "online" else None,
            init_timeout=30,
            finish_timeout=FINISH_TIMEOUT,
            finish_timeout_raises=False,
            console="off",  # nothing is sent but what is named here: no output, code, git state or machine
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            host="",
            x_disable_meta=True,
            x_save_requirements=False,
            x_disable_stats=True,
            silent=True,
        ),
    )


def _answers(url: str) -> bool:
    try:
        requests.get(url, timeout=5, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def main(folder: Path, environ: Mapping[str, str]) -> None:
    """Open the run on W&B again and close it, from its journal. train_model.py starts this at the end."""
    config = get_config(environ)
    set_up_logging(Redactor(config.secrets))
    record = Journal(folder).record()
    key = config.wandb_api_key.get_secret_value() if config.wandb_api_key else None
    run_id = record.tracking.run_id if record.tracking else None
    Tracker(config.wandb_project_name, key, folder, config.public_values(), run_id).finish(record)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ)
