"""Public data, the starter model, a browser, and caches that are not the user's."""

from __future__ import annotations

import os
import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("hypothesis"):  # which the machine of a GPU session lacks
    from hypothesis import HealthCheck, settings

    # A limit in milliseconds fails on a busy machine, whatever the code does.
    settings.register_profile("no-timings", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("no-timings")

ROOT = Path(__file__).parents[1]


def pytest_make_parametrize_id(val):
    """No bytes in the names of cases: a gzip file holds its second; workers must collect equal names."""
    return "bytes" if isinstance(val, bytes) else None


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


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; skips where there is none. Of one module: while it is open, no loop can be run."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("there is no chromium on the path; set CHROMIUM to its executable")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


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
