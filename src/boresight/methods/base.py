"""What every method's `Config` inherits: strict, frozen, documented fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class MethodConfig(BaseModel):
    """Base of a method's settings: unknown keys are errors, fields carry their docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
