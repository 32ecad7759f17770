"""The planted key that every test client sends."""

from __future__ import annotations

import pytest

from tests.llm.helpers import KEY, KEY_ENV


@pytest.fixture(autouse=True)
def planted_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key in the environment, and take proxies out of it."""
    monkeypatch.setenv(KEY_ENV, KEY)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
