"""The environment of a preparation → settings; the label sets are those of the retrain job."""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from configs import LABEL_SETS, RepoId, RunSettings, Token, clean_environment, read_settings

# The names in the city's database; COLUMN_NAMES has other ones. Those of a label set are added to them.
COLUMNS = (
    "id",
    "message",
    "created_at",
    "complaint_id",
    "reviewed",
    "reviewed_at",
    "reviewed_by",
    "text_hash",
)
SQL_NAME = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?", re.ASCII)
HASH = re.compile(r"[0-9a-f]{32}")
LEAST_KEY = 16  # characters


def _list(value: Any) -> Any:
    return tuple(filter(None, re.split(r"[\s,]+", value))) if isinstance(value, str) else value


class PreparationSettings(RunSettings):
    """All settings of a preparation."""

    label: Annotated[tuple[str, ...], NoDecode] = Field(
        description="the label sets, separated by commas: urgency, department"
    )
    hf_token: Token = Field(min_length=1, description="a token that may write to the data sets")
    dataset_repo_id: str = Field(
        description="the data set, owner/name; with {label} in it where there are several label sets"
    )
    database_url: SecretStr | None = Field(None, description="postgresql://user:password@host/database")
    source: str | None = Field(
        None, description="in place of a database: a CSV, JSON lines or Parquet file, or the URL of an export"
    )
    source_token: Token | None = Field(None, description="bearer token of the export")
    complaints_table: str = Field("complaints", description="the table of all complaints")
    corrections_table: str = Field("misclassified_complaints", description="the table of corrections")
    erasure_table: str = Field("erasure_requests", description="the table of complaints to forget, if any")
    column_names: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, description="other names of columns, as in message:body,reviewed_at:checked_at"
    )
    statement_timeout_minutes: float = Field(10, gt=0, description="minutes that one query may take")
    split_key: SecretStr = Field(
        min_length=LEAST_KEY, description="key of the hashes by which splits are drawn; keep it for good"
    )
    audit_probability: float = Field(
        0.2, ge=0, le=1, description="share of all complaints that is drawn by chance for the data set"
    )
    min_new_rows: int = Field(
        50, ge=1, le=1_000_000, description="rows that are new or corrected, below which nothing is published"
    )
    max_label_shift: float = Field(
        0.25,
        gt=0,
        description="population stability index that the spread of labels may reach in one version",
    )
    forget: Annotated[tuple[str, ...], NoDecode] = Field((), description="hashes of texts to leave out")
    prepare_space_id: RepoId | None = Field(
        None,
        validation_alias=AliasChoices("PREPARE_SPACE_ID", "SPACE_ID"),
        description="this Space; SPACE_ID unless set",
    )

    _split = field_validator("label", "forget", mode="before")(_list)

    @field_validator("column_names", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition(":") for pair in _list(value)]
        if not all(colon and name for _, colon, name in pairs):
            raise ValueError("should be pairs such as message:body, separated by commas")
        return {ours: theirs for ours, _, theirs in pairs}

    @field_validator("label")
    @classmethod
    def _known_label_sets(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if not labels or len(set(labels)) < len(labels) or not set(labels) <= LABEL_SETS.keys():
            raise ValueError(f"should be one or several of {', '.join(LABEL_SETS)}")
        return labels

    @field_validator("dataset_repo_id")
    @classmethod
    def _one_data_set_each(cls, name: str, info: ValidationInfo) -> str:
        labels = info.data.get("label", ("label",))
        if not all(re.fullmatch(r"[\w.-]+/[\w.-]+", name.replace("{label}", label)) for label in labels):
            raise ValueError("should look like owner/name")
        if len(labels) > 1 and "{label}" not in name:
            raise ValueError("should have {label} in it: each label set has a data set of its own")
        return name

    @field_validator("column_names")
    @classmethod
    def _known_columns(cls, names: dict[str, str]) -> dict[str, str]:
        known = [*COLUMNS, *LABEL_SETS, *(f"correct_{label}" for label in LABEL_SETS)]
        if unknown := sorted(names.keys() - set(known)):
            raise ValueError(f"should not have {', '.join(unknown)}; the columns are {', '.join(known)}")
        return names

    @field_validator("complaints_table", "corrections_table", "erasure_table")
    @classmethod
    def _a_table(cls, name: str) -> str:
        if not SQL_NAME.fullmatch(name):
            raise ValueError("should be the name of a table, with its schema or without")
        return name

    @field_validator("forget")
    @classmethod
    def _hashes(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if strange := [each for each in given if not HASH.fullmatch(each)]:
            raise ValueError(
                f"has {len(strange)} that are no hashes of 32 hexadecimal digits, which "
                "`python prepare_dataset.py hash` makes of a text"
            )
        return given

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url and urlsplit(url.get_secret_value()).scheme.partition("+")[0] not in (
            "postgres",
            "postgresql",
        ):
            raise ValueError("should begin with postgresql://")
        return url

    @property
    def secrets(self) -> list[str]:
        """The password of the database as well, which a message may show without the rest of the URL."""
        url = self.database_url.get_secret_value() if self.database_url else ""
        try:
            password = urlsplit(url).password or ""
        except ValueError:
            password = ""
        return [*super().secrets, password]

    @property
    def what(self) -> str:
        return "_".join(self.label)

    @property
    def token(self) -> str:
        return self.hf_token.get_secret_value()

    def repo_ids(self) -> dict[str, str]:
        """The data set of each label set."""
        return {label: self.dataset_repo_id.replace("{label}", label) for label in self.label}

    def column(self, name: str) -> str:
        """What a column is called in the source."""
        return self.column_names.get(name, name)


def get_settings(environ: Mapping[str, str]) -> PreparationSettings:
    """Read the settings from the environment.

    Raises:
        SettingsError: with all faults in one message.
    """
    variables = clean_environment(environ)
    faults = []
    if ("DATABASE_URL" in variables) == ("SOURCE" in variables):
        faults.append("Set either DATABASE_URL or SOURCE: it is where the complaints come from.")
    return read_settings(PreparationSettings, variables, faults)
