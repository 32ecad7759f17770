"""The planted key that every test client sends."""

from tests.llm.conftest import planted_key  # noqa: F401
