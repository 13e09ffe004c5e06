"""What a parameter can be: strict sections, and the types of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from runbook_lib import literals
from runbook_lib.secret import FORMS, HOME, is_reference


def _reference(text: str) -> str:
    if not is_reference(text):
        raise ValueError(f"a secret is given by reference: {FORMS}")
    return text


def _path(value: Any) -> Any:
    return HOME / Path(value).expanduser() if isinstance(value, str) else value


def text_keys(value: Any) -> Any:
    """The same mapping with its keys as text.

    YAML reads `1:` as a number, papermill hands it on as text.
    """
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


Secret = Annotated[str, AfterValidator(_reference)]
"""A reference to a secret."""
Address = Annotated[str, AfterValidator(literals.refuse_secret_url)]
"""A URL without a secret, or a reference to one."""
Recipient = Annotated[str, AfterValidator(literals.refuse_address)]
"""A reference to an apprise URL."""
Body = Annotated[Any, AfterValidator(literals.refuse_secret_body)]
"""The JSON of a request, without secrets."""
Variables = Annotated[dict[str, str], AfterValidator(literals.refuse_secret_variables)]
"""Environment variables; those that are secrets by reference."""
Location = Annotated[Path, BeforeValidator(_path)]
"""A path; relative ones are relative to the checkout."""
Command = Annotated[str, AfterValidator(literals.refuse_secret_command), Field(min_length=1)]
"""A command for `/bin/sh -c`."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
"""Lower-case letters, digits and hyphens."""
LocalTime = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d$")]
"""A time of the wall clock, `YYYY-MM-DD HH:MM`."""
Seconds = Annotated[float, Field(gt=0, le=86400)]
Minutes = Annotated[float, Field(gt=0, le=10080)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1, le=1024)]


class Section(BaseModel):
    """A part of the parameters: strict, and frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _no_token(cls, value: Any) -> Any:
        return literals.refuse_token(value)
