"""Plain values that travel between the stages: scores, verdict, release, outcome. Knows nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from retrain.language import N_


@dataclass(frozen=True)
class Outcome:
    """How a run can end: its exit code; for people its name, what it means, and what somebody has to do."""

    exit_code: int
    name: str
    meaning: str
    what_to_do: str


_NOTHING = N_("Nothing needs to be done.")

OUTCOMES = {
    "accepted": Outcome(0, N_("Accepted"), N_("The new model serves now."), _NOTHING),
    "rejected": Outcome(
        0,
        N_("Rejected"),
        N_("Nothing changes: the new model is not good enough to be released."),
        N_("Nothing needs to be done. More corrected grievances give the next run more to learn from."),
    ),
    "unchanged": Outcome(
        0,
        N_("Unchanged"),
        N_("Nothing was done: too little has changed since the last time."),
        N_("Nothing needs to be done. A retrain trains all the same with SKIP_UNCHANGED=false."),
    ),
    "inconclusive": Outcome(
        1,
        N_("Inconclusive"),
        N_("Nothing was published: there is no comparison that holds."),
        N_("Citizens are served as before. Ask the engineer to do what is said above, then restart the run."),
    ),
    "published": Outcome(0, N_("Published"), N_("A new version of the data set is on the Hub."), _NOTHING),
    "withheld": Outcome(
        1,
        N_("Withheld"),
        N_("Nothing was published: the new version of the data set did not pass its checks."),
        N_("Look at the corrections that are named above; what is put right is taken up by the next run."),
    ),
    "rolled_back": Outcome(
        1,
        N_("Rolled back"),
        N_("The new model did not come up; the previous version serves again."),
        N_("Look at the log of the inference Space: it says why the new version did not come up there."),
    ),
    "failed": Outcome(
        1,
        N_("Failed"),
        N_("The run failed."),
        N_("Ask the engineer to put right what is said above, then restart the run."),
    ),
    "bad_settings": Outcome(
        2,
        N_("Bad settings"),
        N_("The settings can't be used; nothing was started."),
        N_("Correct what is named above in the settings of the Space, then restart it."),
    ),
    "bug": Outcome(
        3,
        N_("Bug"),
        N_("The run ended in an error of the program."),
        N_("Report it with output.log: it holds the traceback."),
    ),
    "interrupted": Outcome(
        130,  # 128 + the signal's number, in the supervisor
        N_("Interrupted"),
        N_("The run was interrupted."),
        N_("Restart it. It goes on from its last checkpoint where RUN_DIR outlives the container."),
    ),
}
READABLE_REPORT = "report.md"  # what the Hub shows as a page, with its pictures beside it
# With these a run has reached its end. After any other a restart resumes what can be resumed.
FINISHED = ("accepted", "rejected")

TAG_TIME = "v%Y%m%d_%H%M%S"


def is_version_tag(name: str) -> bool:
    """Whether a tag is v{YYYYMMDD}_{HHMMSS}, a UTC time of this millennium; others are somebody else's.

    Versions of data sets and models sort by the time in their names. The inference Space has the same rule.
    """
    try:
        return bool(re.fullmatch(r"v2\d{7}_\d{6}", name, re.ASCII) and datetime.strptime(name, TAG_TIME))
    except ValueError:
        return False


def time_of_tag(tag: str) -> datetime:
    """The UTC time in the name of a version."""
    return datetime.strptime(tag, TAG_TIME).replace(tzinfo=UTC)


@dataclass(frozen=True)
class DatasetInfo:
    """What was trained on: one commit of a Hub data set, and what the checks found in it.

    contradictory_texts: those with several labels; contradictory_rows: the first of their rows, by split;
    read_as: the names that splits, columns or the config have in it, where they are other ones.
    """

    repo_id: str
    revision: str
    version_tag: str | None
    split_sizes: dict[str, int]
    label_counts: dict[str, dict[str, int]]
    exact_duplicates: dict[str, int]
    normalised_duplicates: dict[str, int]
    removed_from_train: dict[str, int]
    shared_by_eval_and_test: int
    contradictory_texts: int = 0
    contradictory_rows: dict[str, tuple[int, ...]] = field(default_factory=dict)
    read_as: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedDataset:
    """What a preparation made of a label set's data set; figures are those of the draft, published or not.

    withdrawn: rows that left, by reason; masked, left_out: how many of what, in what was read.
    """

    label: str
    repo_id: str
    outcome: str
    reasons: tuple[str, ...] = ()
    version_tag: str | None = None
    previous_version: str | None = None
    url: str | None = None
    split_sizes: dict[str, int] = field(default_factory=dict)
    label_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    added: int = 0
    corrected: int = 0
    withdrawn: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    masked: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassScores:
    """One class: precision, recall and F1 in 0..1, support in rows."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """Quality on one set of rows, over the full label set.

    confusion: (num_labels, num_labels) rows; [i][j] counts rows of class i that were predicted as j.
    """

    rows: int
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    precision_weighted: float
    recall_weighted: float
    f1_weighted: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Answer:
    """A model's answer to one text: class id, its probability, seconds taken; or why there is none.

    scores: the probability of each class, in id order, if the model gives them.
    """

    label: int | None = None
    confidence: float | None = None
    seconds: float | None = None
    scores: tuple[float, ...] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Both models on the same test rows, column by column. An answer that could not be had is None in `live`.

    rows: their numbers in the test split; labels, candidate, live: class ids, places in label_names;
    *_confidence: the answer's probability, 0..1; latency: seconds a text took; errors: why there is no
    answer; compared_with: "api" (the live API answered) or "hub" (the released model was scored here);
    confirmed: the API's answers are those that the released model gives here.
    """

    label_names: tuple[str, ...]
    compared_with: str
    rows: Sequence[int]
    labels: Sequence[int]
    candidate: Sequence[int]
    live: Sequence[int | None]
    candidate_confidence: Sequence[float | None]
    live_confidence: Sequence[float | None]
    latency: Sequence[float | None]
    errors: Sequence[str | None]
    confirmed: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class GateRules:
    """What the gate asks of a candidate; None is a rule that is not set. `seed` is that of the resampling."""

    threshold: float = 0.001
    min_coverage: float = 0.95
    confidence: float | None = None
    min_f1_macro: float | None = None
    max_class_recall_drop: float | None = None
    seed: int = 42


@dataclass(frozen=True)
class RuleResult:
    """One rule of the gate, by the variable that sets it, and how the candidate did."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Version:
    """A version of the model: its tag, if it has one, its commit, and what became of it, if known."""

    tag: str | None
    revision: str
    verified: bool = False
    given_up: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it has served, and nobody has gone back from it."""
        return self.verified and not self.given_up


@dataclass(frozen=True)
class RowCounts:
    """On the compared rows: how many each model got right, only one of them did, and both answered alike."""

    right_candidate: int
    right_live: int
    only_candidate_right: int
    only_live_right: int
    answered_alike: int


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, from which figures. F1 and its difference are on the compared rows only.

    probability_of_gain: the share of resamplings in which the gain exceeds the threshold;
    failures: rows without an answer, by cause; served: the version that gave the live answers, if known.
    """

    outcome: str
    reasons: tuple[str, ...]
    compared_with: str | None = None
    rows_asked: int = 0
    rows_compared: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    rules: tuple[RuleResult, ...] = ()
    f1_macro_candidate: float | None = None
    f1_macro_live: float | None = None
    delta: float | None = None
    interval: tuple[float, float] | None = None
    probability_of_gain: float | None = None
    mcnemar_p: float | None = None
    counts: RowCounts | None = None
    threshold: float | None = None
    served: Version | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """A version on the Hub: the commit, the tag on it, and the commit that was main before."""

    version_tag: str
    revision: str
    previous_revision: str | None
    url: str


@dataclass(frozen=True)
class TrainingSummary:
    """How a training went; `best_*` are those of the validation whose weights were kept.

    epochs: those that were planned, with the floor of steps.
    """

    steps: int
    best_step: int | None
    best_f1_macro: float | None
    precision: str
    device: str
    devices: int = 1
    best_loss: float | None = None
    epochs: float | None = None


@dataclass(frozen=True)
class Histogram:
    """Bins between neighbouring edges, and how many fall into each."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ComparisonFigures:
    """What a picture of the comparison is drawn from, on the rows that both models answered.

    confusion_*: (classes, classes), [label][answer]; reliability_live: see evaluation.scores.reliability_of;
    gains: the resampled gain in macro F1.
    """

    confusion_candidate: tuple[tuple[int, ...], ...] = ()
    confusion_live: tuple[tuple[int, ...], ...] = ()
    reliability_live: tuple[tuple[float, float, int], ...] = ()
    gains: Histogram | None = None


@dataclass(frozen=True)
class Health:
    """What many runs show together: shares in 0..1, None if there are no runs to judge by.

    success_rate: runs that came to a verdict; acceptance_rate: of those, the ones that were released;
    training_minutes: the median; f1_macro: (time, value), and in_production: (time, version) of those that
    have served, oldest first.
    """

    runs: int
    success_rate: float | None = None
    acceptance_rate: float | None = None
    training_minutes: float | None = None
    f1_macro: tuple[tuple[str, float], ...] = ()
    in_production: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SpaceState:
    """The stage of a Space as the Hub names it, and what that means for whoever waits for it.

    coming: it will run without anybody's help; remedy: what somebody has to do before it runs; broken: its
    program ended in an error, for which what it serves may be the cause; unknown: the Hub did not say.
    """

    stage: str
    coming: bool = False
    remedy: str = ""
    broken: bool = False
    unknown: bool = False

    def __str__(self) -> str:
        return self.stage


@dataclass(frozen=True)
class Served:
    """What an API says of itself: the version it has loaded, or what it waits for before it can load one."""

    version: Version | None = None
    waiting_for: str | None = None


@dataclass(frozen=True)
class Head:
    """The commit at main of a model repository (None without a repository), and whether a model is there."""

    revision: str | None
    has_model: bool
