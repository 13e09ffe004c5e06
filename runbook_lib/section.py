"""What a parameter can be: strict sections, and the types of their keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from runbook_lib.secret import FORMS, HOME, is_reference


def _reference(text: str) -> str:
    if not is_reference(text):
        raise ValueError(f"a secret is given by reference: {FORMS}")
    return text


def _no_password(text: str) -> str:
    if re.search(r"://[^/\s:@]*:[^/\s@]+@", text):
        raise ValueError(f"a URL with a password in it is refused; give it by reference: {FORMS}")
    return text


def _no_secret(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        _no_password(value)
        if _SECRET_NAME.search(name) and value and not is_reference(value):
            raise ValueError(f"the value of {name} is given by reference: {FORMS}")
    return variables


def _path(value: Any) -> Any:
    return HOME / Path(value).expanduser() if isinstance(value, str) else value


def text_keys(value: Any) -> Any:
    """The same mapping with its keys as text: YAML reads `1:` as a number, papermill hands it on as text."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY", re.IGNORECASE)

Secret = Annotated[str, AfterValidator(_reference)]
"""A reference to a secret."""
Address = Annotated[str, AfterValidator(_no_password)]
"""A URL without a password, or a reference to one."""
Variables = Annotated[dict[str, str], AfterValidator(_no_secret)]
"""Environment variables; those that are secrets by reference."""
Location = Annotated[Path, BeforeValidator(_path)]
"""A path; relative ones are relative to the checkout."""
Command = Annotated[str, AfterValidator(_no_password), Field(min_length=1)]
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
