"""Which library multiplies matrices: measured once, stored, and kept by a run."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from boresight.core.files import write_json, write_state
from boresight.models.kernels import libraries
from boresight.models.kernels.libraries import Libraries, Measurement, Rates, measurement
from boresight.runs.loading import Earlier
from boresight.training.choices import Choices, read_choices

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")

EQUAL = Rates(100.0, 100.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in a process that has not measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(libraries, "ROUNDS", 1)
    measurement.cache_clear()
    libraries.measured_libraries.cache_clear()
    yield tmp_path / "boresight/products"
    measurement.cache_clear()
    libraries.measured_libraries.cache_clear()


def test_another_library_than_the_usual_one_must_be_faster_by_more_than_noise(monkeypatch):
    """230 to 110 GFLOP/s, 115 to 100, and 75 to 92; bfloat16 at 460 is twice the faster one."""
    found = Measurement(Rates(110.0, 230.0), Rates(100.0, 115.0), Rates(92.0, 75.0), bfloat16=460.0)
    assert found.libraries == Libraries("onednn", "blas", "blas")
    close = Measurement(Rates(110.0, 100.0), EQUAL, Rates(90.0, 80.0))
    for capability, products in (("AVX2", "blas"), ("AVX512", "onednn")):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda named=capability: named)
        monkeypatch.setattr(libraries, "processor_facts", lambda: {"vendor_id": "AuthenticAMD"})
        assert close.libraries == Libraries(products, "blas", "onednn")
    assert found.bfloat16_gain == 2.0
    assert Measurement(EQUAL, EQUAL, EQUAL).bfloat16_gain is None


def test_a_machine_is_measured_once_and_the_first_measurement_counts(cache, monkeypatch):
    first = measurement()
    kinds = (first.products, first.weight_gradients, first.decoding)
    assert all(rate > 0 for kind in kinds for rate in (kind.blas, kind.onednn))
    (file,) = cache.iterdir()
    monkeypatch.setattr(libraries, "measure", lambda: pytest.fail("measured again"))
    measurement.cache_clear()
    assert measurement() == first
    # Another process stores its own between this one's look and its end.
    file.unlink()
    other = Measurement(Rates(1.0, 9.0), EQUAL, EQUAL)

    def measured_late():
        write_state(file, asdict(other))
        return Measurement(Rates(9.0, 1.0), EQUAL, EQUAL)

    monkeypatch.setattr(libraries, "measure", measured_late)
    measurement.cache_clear()
    assert measurement() == other and libraries.measured_libraries().products == "onednn"


def test_a_damaged_file_is_measured_again_and_a_read_only_cache_is_no_error(cache, monkeypatch):
    found = Measurement(EQUAL, EQUAL, EQUAL)
    monkeypatch.setattr(libraries, "measure", lambda: found)
    cache.mkdir(parents=True)
    file = cache / f"{libraries._machine()}.json"
    file.write_text("{")
    assert measurement() == found
    file.unlink()
    write_json(file, {"products": {"blas": 1.0}})
    measurement.cache_clear()
    assert measurement() == found
    (cache.parent / "products").rename(cache.parent / "elsewhere")
    (cache.parent / "products").write_text("a file where the folder would be")
    measurement.cache_clear()
    assert measurement() == found


def test_the_facts_of_the_first_processor_are_those_of_linux():
    source = Path("/proc/cpuinfo")
    found = libraries.processor_facts()
    if not source.exists():
        assert found == {}
        return
    first = source.read_text().split("\n\n")[0].split("\n")
    assert found and all(any(line.startswith(name) for line in first) for name in found)
    assert all(value in "\n".join(first) for value in found.values())


def test_another_processor_is_another_machine_and_the_number_of_threads_is_not(monkeypatch):
    names = [libraries._machine()]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 61)
    names.append(libraries._machine())
    monkeypatch.setattr(libraries, "processor_facts", lambda: {"model name": "other", "flags": "avx2"})
    names.append(libraries._machine())
    assert names[0] == names[1] != names[2]


def test_products_are_timed_in_one_thread(monkeypatch):
    """Of several threads, the time of one is short where the others work for it. On two busy cores that
    favored oneDNN by a third where it was no faster."""
    threads = []
    monkeypatch.setattr(libraries, "_seconds", lambda product: threads.append(torch.get_num_threads()) or 1.0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        libraries.measure()
        assert set(threads) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_run_resumes_with_the_libraries_that_it_began_with(tmp_path, monkeypatch):
    """The stored choice is put in force when the run is loaded, whatever is measured by then."""
    kept = {"products": "onednn", "weight_gradients": "blas", "decoding": "blas"}
    Choices("cpu", 1, False, False, 3, libraries=kept).write(tmp_path / "choices.json")
    assert json.loads((tmp_path / "choices.json").read_text())["libraries"] == kept
    earlier = Earlier(choices=read_choices(tmp_path / "choices.json"))
    monkeypatch.setattr(libraries, "_in_force", None)
    libraries.use_libraries(earlier.libraries)
    assert libraries.libraries() == Libraries("onednn", "blas", "blas")
    libraries.use_libraries(Earlier().libraries)
    assert libraries.libraries() == libraries.measured_libraries()
