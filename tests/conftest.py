"""Where the public data is, for tests marked `real_data`, and a reference cache that is not the user's."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of public data, from BORESIGHT_DATA or beside the repository; skips where there is none."""
    folder = Path(os.environ.get("BORESIGHT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}; set BORESIGHT_DATA")
    return folder


@pytest.fixture(scope="session")
def starter() -> Path:
    """Folder of the embedded model; skips where its wheel is not installed."""
    from boresight.core.errors import UserError
    from boresight.models.embedded.starter import starter_path

    try:
        return starter_path()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True, scope="session")
def own_reference_cache(tmp_path_factory):
    """Runs inside tests neither read nor fill the user's cache of reference log-probabilities."""
    from boresight.models.reference import cache

    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("reference-cache")
    patch.setattr(cache, "_default_folder", lambda: folder)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def libraries_are_measured():
    """Before any test, so that none measures or stores inside what it counts; each starts with these."""
    from boresight.models.kernels import libraries

    libraries.measured_libraries()


@pytest.fixture(autouse=True)
def own_token_cache(tmp_path_factory, monkeypatch):
    """No test reads token rows of the user, or of a test that may have changed how they are made."""
    from boresight.data.stored import cache

    folder = tmp_path_factory.getbasetemp() / "tokens" / uuid.uuid4().hex
    monkeypatch.setattr(cache, "_default_folder", lambda: folder)
