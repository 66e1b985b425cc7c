"""The environment, read once and checked: every setting of the job, and the label sets.

Knows nothing of the Hub, torch or files. Importing it reads nothing.
"""

import io
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from retrain.errors import SettingsError

urgency2id = {"NORMAL": 0, "URGENT": 1, "HIGHLY URGENT": 2}
id2urgency = {i: name for name, i in urgency2id.items()}
department2id = {
    "Municipal Governance & Community Services": 0,
    "Education, Health & Social Welfare": 1,
    "Infrastructure, Utilities & Natural Resources": 2,
    "Security & Law Enforcement": 3,
}
id2department = {i: name for name, i in department2id.items()}
# The label sets by name. A further one needs only a line here, or LABELS and no code.
LABEL_SETS = {"urgency": urgency2id, "department": department2id}
MAX_LABELS = 100
SHORT_SECRET = 8  # characters
# Of a Job of the Hub: what it needs beside MAX_RUN_MINUTES, to start and to end with its report and messages.
JOB_MARGIN_MINUTES = 15


_NAMES_A_SECRET = re.compile(r"(?i)token|key|secret|pass|auth|credential|\bsig")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should be a full URL such as https://owner-space.hf.space/predict")
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if parts.username or parts.password or any(map(_NAMES_A_SECRET.search, names)):
        raise ValueError("should not hold a password or token; put it into API_TOKEN")
    return value


def fault_of_token(token: str) -> str | None:
    """Why a token fits into no header: a byte order mark, say, is as invisible as it is fatal."""
    if not (strange := re.search("[^ -~]", token)):
        return None
    place = f"U+{ord(strange[0]):04X} at place {strange.start() + 1}"
    return f"should be of visible ASCII characters on one line, but has {place}: copy it anew"


def _token(value: SecretStr) -> SecretStr:
    if fault := fault_of_token(value.get_secret_value()):
        raise ValueError(fault)
    return value


# They do not change what a run results in: an interrupted run may be resumed with other ones.
_AROUND_THE_RUN = {
    "ALLOW_FIRST_RELEASE",
    "ROLLOUT_TIMEOUT_MINUTES",
    "RUN_DIR",
    "PORT",
    "MAX_RUN_MINUTES",
    "STALL_MINUTES",
    "SKIP_UNCHANGED",
    "REPORT_TEXTS",
    "REPORT_LANGUAGE",
    "RETRAIN_SPACE_ID",
    "WANDB_PROJECT_NAME",
}


RepoId = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$", max_length=96)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]


MAX_ALPHA = 1000.0
_ALPHA = (
    f'should be one positive number up to {MAX_ALPHA:g}, "balanced", or a number for each class, separated '
    "by commas"
)


class _Environment(EnvSettingsSource):
    """Variables from a mapping that is passed in, not from the process behind its back."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if name.isupper()}


class Settings(BaseSettings):
    """Settings that are read from a mapping. A field `like_this` is the variable LIKE_THIS."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """From clean variables.

        Raises:
            pydantic.ValidationError: some are missing or malformed.
        """
        source: Any = {"environ": variables}
        return cls(**source)

    @property
    def secrets(self) -> list[str]:
        """The plain values that must be masked wherever text leaves the process."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]

    def short_secrets(self) -> list[str]:
        """The variables whose secrets are so short that they may stand in the text of a log by chance."""
        named = {name: getattr(self, name) for name in self.secret_names()}
        return sorted(
            name.upper()
            for name, value in named.items()
            if value is not None and len(value.get_secret_value()) < SHORT_SECRET
        )

    @classmethod
    def secret_names(cls) -> set[str]:
        """The fields whose values are shown nowhere."""
        return {name for name, field in cls.model_fields.items() if _is_secret(field)}

    def public_values(self) -> dict[str, Any]:
        """Every setting but the secrets, in plain JSON values, by the variable's name."""
        values = self.model_dump(mode="json", exclude=self.secret_names())
        return {name.upper(): value for name, value in values.items()}

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (_Environment(settings_cls, init_settings()["environ"]),)


AnySettings = TypeVar("AnySettings", bound=Settings)


class PlaceSettings(Settings):
    """Who and where: the repositories, the Spaces, the tokens."""

    # Before `label`, whose check needs it.
    labels: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, description="the names of a label set of your own, in id order, separated by commas"
    )
    label: str = Field(description="the label set: urgency, department, or your own with LABELS")
    hf_token: Token = Field(
        min_length=1,
        description="a token that may write to the model repository and both Spaces",
    )
    dataset_repo_id: RepoId = Field(description="the data set, owner/name")
    dataset_revision: str | None = Field(None, description="a branch, tag or commit; main unless set")
    hub_model_id: RepoId = Field(description="the model repository that the inference Space loads")
    api_endpoint: HttpUrl = Field(
        "", description="the URL that predictions are POSTed to; that of SPACE_REPO_ID on the Hub unless set"
    )
    api_token: Token | None = Field(None, description="bearer token of the API, if it asks for one")
    space_repo_id: RepoId = Field(description="the inference Space")
    retrain_space_id: RepoId | None = Field(
        None,
        validation_alias=AliasChoices("RETRAIN_SPACE_ID", "SPACE_ID"),
        description="this Space; SPACE_ID unless set",
    )
    wandb_api_key: Token | None = Field(None, description="tracked offline without it")
    wandb_project_name: str = Field("grievance-retrain", description="the project on Weights & Biases")
    audit_key: SecretStr | None = Field(
        None, description="key of the hashes that name a text in the report; made for each run unless set"
    )

    @field_validator("wandb_project_name")
    @classmethod
    def _check_project(cls, name: str) -> str:
        if not re.fullmatch(r"[^/\\#?%:]{1,128}", name):
            raise ValueError(r"should have at most 128 characters, and none of / \ # ? % :")
        return name

    @field_validator("labels", mode="before")
    @classmethod
    def _split_labels(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is None:
            return names
        if not 2 <= len(names) <= MAX_LABELS:
            raise ValueError(f"should be 2 to {MAX_LABELS} names separated by commas, not {len(names)}")
        if "" in names:
            raise ValueError("should not have an empty name: is there a comma too many?")
        folded = [name.casefold() for name in names]
        if doubles := sorted({name for name in names if folded.count(name.casefold()) > 1}):
            raise ValueError(f"should not have a name twice ({', '.join(doubles)})")
        return names

    @field_validator("label")
    @classmethod
    def _check_label(cls, label: str, info: ValidationInfo) -> str:
        if "labels" not in info.data:  # they are malformed, which is said already
            return label
        known, own = LABEL_SETS.get(label), info.data["labels"]
        if known is None and own is None:
            raise ValueError(f"should be {' or '.join(LABEL_SETS)}, or your own with its names in LABELS")
        if not re.fullmatch(r"[A-Za-z][\w-]{0,31}", label):
            raise ValueError("should be a short name of letters, digits, _ and -")
        if known is not None and own is not None and own != tuple(known):
            raise ValueError(f"has names of its own ({', '.join(known)}): take LABELS out, or rename yours")
        return label

    @cached_property
    def label2id(self) -> dict[str, int]:
        """The label set: id by name."""
        return {name: i for i, name in enumerate(self.labels or LABEL_SETS[self.label])}

    @property
    def id2label(self) -> dict[int, str]:
        return {i: name for name, i in self.label2id.items()}


class TrainingSettings(Settings):
    """The recipe."""

    model_checkpoint: str = Field(
        "xlm-roberta-base", description="a repository or folder of an XLM-R, or another of RoBERTa's shape"
    )
    num_train_epochs: float = Field(
        3,
        gt=0,
        le=100,
        description="passes over the train split; fewer if it stops early",
    )
    min_train_steps: int = Field(
        600,
        ge=0,
        le=1_000_000,
        description="steps at least, by more epochs of a small train split; 0: none",
    )
    train_batch_size: Count = Field(16, description="rows of a training step, on all GPUs together")
    eval_batch_size: Count = Field(32, description="rows of a batch in validation and evaluation")
    learning_rate: float = Field(
        2e-5,
        gt=0,
        lt=1,
        description="of AdamW at its highest: it rises for 6 % of the steps, then falls to 0",
    )
    weight_decay: float = Field(0.01, ge=0, lt=1, description="of AdamW")
    eval_steps: Count = Field(50, description="steps between two validations")
    early_stopping_patience: Count = Field(
        1,
        description="validations in a row without a lower loss before training stops",
    )
    focal_gamma: float = Field(
        2.0, ge=0, le=10, description="how much less easy rows count in the loss; at 0 all count alike"
    )
    focal_alpha: Annotated[float | tuple[float, ...] | Literal["balanced"], NoDecode] = Field(
        0.25,
        description='weight of the classes in the loss: one positive number, one per class, or "balanced"',
    )
    max_length: int = Field(512, ge=8, le=512, description="tokens of a text that are read")
    precision: Literal["auto", "fp32"] = Field(
        "auto", description="auto trains in bf16 or fp16 where the GPU or CPU computes in it; or fp32"
    )
    seed: int = Field(42, ge=0, lt=2**32, description="of shuffling, dropout, samples and resampling")

    @field_validator("focal_alpha", mode="before")
    @classmethod
    def _parse_alpha(cls, value: Any) -> str | float | tuple[float, ...]:
        if value == "balanced":
            return "balanced"
        try:
            numbers = tuple(float(part) for part in str(value).strip("()").split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(0 < n <= MAX_ALPHA for n in numbers):
            raise ValueError(_ALPHA)
        return numbers[0] if len(numbers) == 1 else numbers


class GateSettings(Settings):
    """The decision."""

    deployed_sample_size: Count = Field(300, description="test rows that the live API is asked about")
    decision_threshold: float = Field(0.001, ge=0, lt=1, description="gain in macro F1 to be exceeded")
    min_coverage: Fraction = Field(0.95, description="share of the sample that must be answered")
    decision_confidence: Fraction | None = Field(
        None, description="probability of a gain that must be reached; no rule unless set"
    )
    min_f1_macro: Fraction | None = Field(
        None, description="floor of the new model's macro F1; none unless set"
    )
    max_class_recall_drop: Fraction | None = Field(
        None, description="how much recall any one class may lose; 0.05 is 5 points; no rule unless set"
    )
    compare_with: Literal["api", "hub"] = Field(
        "api", description="the live API, or the released model of the Hub, scored here on the whole test set"
    )
    allow_first_release: bool = Field(False, description="release if no model is published yet")


class RunSettings(Settings):
    """Around the run of a batch job: how long it may take, where it writes, and who is notified."""

    max_run_minutes: float = Field(12 * 60, gt=0, description="minutes after which a run is ended")
    stall_minutes: float = Field(
        30, gt=0, description="minutes without a sign of life after which a run is ended"
    )
    notify_urls: SecretStr | None = Field(None, description="where summaries go, as apprise's URLs")
    report_language: Literal["en", "ne"] = Field(
        "en", description="of page, report and message: English or Nepali"
    )
    run_dir: Path = Field(Path("runs"), description="a folder for each run is made below it")
    port: int = Field(7860, ge=1, le=65535, description="where the page is served")

    @field_validator("notify_urls")
    @classmethod
    def _check_urls(cls, value: SecretStr | None) -> SecretStr | None:
        from apprise import Apprise  # heavy, and seldom needed

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its messages hold the URLs
        for place, url in enumerate(split_urls(value), 1):
            if Apprise.instantiate(url) is None:
                raise ValueError(
                    f"number {place} is no URL that apprise knows, such as slack:// or mailto://"
                )
        return value

    @property
    def what(self) -> str:
        """What a run is for, as in "urgency"."""
        raise NotImplementedError

    @property
    def token(self) -> str:
        """The plain HF_TOKEN."""
        raise NotImplementedError

    @property
    def secrets(self) -> list[str]:
        return super().secrets + split_urls(self.notify_urls)


class BaseConfig(RunSettings, GateSettings, TrainingSettings, PlaceSettings):
    """All settings of the job."""

    rollout_timeout_minutes: float = Field(
        20, gt=0, le=24 * 60, description="minutes in which a release must come into service"
    )
    skip_unchanged: bool = Field(
        False, description="end at once if the last finished run had the same data, checkpoint and settings"
    )
    report_texts: bool = Field(False, description="show the texts of mistakes in report.html")

    @field_validator("focal_alpha")
    @classmethod
    def _one_alpha_a_class(cls, value: Any, info: ValidationInfo) -> Any:
        names = info.data.get("labels") or tuple(LABEL_SETS.get(info.data.get("label", ""), ()))
        if isinstance(value, tuple) and names and len(value) != len(names):
            raise ValueError(f"{_ALPHA}: {len(names)} of them, for {', '.join(names)}")
        return value

    @property
    def what(self) -> str:
        return self.label

    @property
    def token(self) -> str:
        return self.hf_token.get_secret_value()

    def inputs(self) -> dict[str, Any]:
        """The public values that a run's result depends on; where and how long it runs is not among them."""
        values = {name: value for name, value in self.public_values().items() if name not in _AROUND_THE_RUN}
        if values["LABELS"] is None:  # it was no setting when earlier runs were recorded
            del values["LABELS"]
        return values


class UrgencyConfig(BaseConfig):
    """LABEL=urgency."""

    label: Literal["urgency"] = "urgency"


class DepartmentConfig(BaseConfig):
    """LABEL=department."""

    label: Literal["department"] = "department"


_CONFIGS: Mapping[str, type[BaseConfig]] = {"urgency": UrgencyConfig, "department": DepartmentConfig}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables as a shell would have read them: `docker --env-file` keeps quotes and trailing comments.

    Values are stripped, and an empty one is left out.
    """
    cleaned = {}
    for name, raw in environ.items():
        value = "" if raw.lstrip().startswith("#") else raw.strip()
        if value and "\n" not in value and (value[0] in "'\"" or "#" in value):
            parsed = dotenv_values(stream=io.StringIO(f"VALUE={value}\n"), interpolate=False).get("VALUE")
            value = value if parsed is None else parsed.strip()
        if value:
            cleaned[name] = value
    return cleaned


def get_config(environ: Mapping[str, str] | None = None) -> BaseConfig:
    """Read the settings from `environ` (the process environment unless given), choosing by LABEL.

    Raises:
        SettingsError: with all faults in one message.
    """
    variables = clean_environment(os.environ if environ is None else environ)
    chosen = _CONFIGS.get(variables.get("LABEL", ""), BaseConfig)
    if "API_ENDPOINT" not in variables and (space := variables.get("SPACE_REPO_ID")):
        variables["API_ENDPOINT"] = endpoint_of(space)
    faults = [
        f"{name}={variables[name]!r}: is SPACE_REPO_ID, too. The Space that retrains is paused at the end, "
        "and the one that serves must not be: it needs a Space of its own."
        for name in in_both_roles(variables)
    ]
    return read_settings(chosen, variables, faults)


def read_settings(
    kind: type[AnySettings], variables: Mapping[str, str], faults: Sequence[str] = ()
) -> AnySettings:
    """Settings of a kind from clean variables; faults: those that are known already.

    Raises:
        SettingsError: with all faults in one message.
    """
    try:
        settings = kind.read(variables)
    except ValidationError as error:
        faults = [*_explain(error, kind, variables), *faults]
    if faults:
        raise SettingsError("\n  ".join(["The settings can't be used; nothing was started.", *faults]))
    return settings


def endpoint_of(space_id: str) -> str:
    """Where a Space of the Hub answers."""
    return (
        f"https://{space_id.replace('/', '-').replace('_', '-').replace('.', '-').lower()}.hf.space/predict"
    )


def in_both_roles(variables: Mapping[str, str]) -> list[str]:
    """The variables that name the Space of the job, and name the Space that serves."""
    serving = variables.get("SPACE_REPO_ID", "").casefold()
    names = ("RETRAIN_SPACE_ID", "SPACE_ID")
    return [name for name in names if serving and variables.get(name, "").casefold() == serving]


def split_urls(urls: SecretStr | str | None) -> list[str]:
    """The single URLs of NOTIFY_URLS, which stand between white space or commas."""
    plain = urls.get_secret_value() if isinstance(urls, SecretStr) else urls
    return re.split(r"[\s,]+(?=\w+://)", plain) if plain else []


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _explain(error: ValidationError, kind: type[Settings], given: Mapping[str, str]) -> Iterator[str]:
    """A line for each fault."""
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0]).lower()
        field = kind.model_fields[name]
        about = f" ({field.description})" if field.description else ""
        if fault["type"] == "missing":
            yield f"{name.upper()} is missing{about}. Set it as a variable or secret of the Space."
            continue
        what = fault["msg"].removeprefix("Value error, ")
        if "pattern" in fault["type"]:
            what = "should look like owner/name"
        variable = name.upper()
        if name == "retrain_space_id" and variable not in given:
            variable = "SPACE_ID"
        value = re.sub(r"(?<=://)[^/\s]*(?=@)|(?<=\?)\S+", "[secret]", given.get(variable, ""))
        shown = "" if _is_secret(field) else f"={value[:80]!r}"
        yield f"{variable}{shown}: {what[0].lower() + what[1:]}{about}."
