"""Names and texts of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=200)]
Text = dict[Literal["en", "zh"], str]


def as_text(value: Any) -> Any:
    """A text in one language stands for English."""
    return {"en": value} if isinstance(value, str) else value
