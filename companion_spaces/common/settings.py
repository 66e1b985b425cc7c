"""What the settings of all Spaces that serve have in common: those of feedback, and the port."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class SpaceSettings(BaseModel):
    """The environment's variables, under the same names. Neither `repr` nor an error shows a value."""

    model_config = ConfigDict(alias_generator=str.upper, frozen=True, hide_input_in_errors=True)

    feedback_token: SecretStr | None = None
    feedback_labels: str = "{}"
    feedback_dir: Path = Path("feedback")
    mask_feedback: bool = True
    database_url: SecretStr | None = None
    port: int = Field(7860, ge=1, le=65535)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Empty means unset. Raises a ValueError that names everything that is wrong."""
        return cls.model_validate({name: text.strip() for name, text in environ.items() if text.strip()})
