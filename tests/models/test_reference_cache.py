"""The reference cache: read back what was written, survive crashes and company, distrust what is wrong."""

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers as hf

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.models.eval_mode import arithmetic
from boresight.models.lora import attach
from boresight.models.reference import cache, frozen
from boresight.models.reference.cache import cached_reference, reference_fingerprint
from boresight.models.reference.distinct import DistinctRows
from boresight.models.reference.frozen import store_reference
from boresight.training.build import reference_origin
from tests.models.tiny_decoders import GROUPED, build, make_row, random_rows

ROWS = random_rows(6, 2, seed=1)


def llama(seed=0):
    return build(hf.LlamaConfig(**GROUPED), seed=seed)


@pytest.fixture
def forwards(monkeypatch):
    """Row ids of every forward that is run to fill or check the cache."""
    seen = []
    inner = frozen.completion_logprobs

    def counting(model, rows, **options):
        seen.append([row.id for row in rows])
        return inner(model, rows, **options)

    monkeypatch.setattr(frozen, "completion_logprobs", counting)
    return seen


def test_the_second_run_reads_the_same_numbers_and_computes_only_the_check(tmp_path, forwards):
    first = cached_reference(llama(), ROWS, 64, folder=tmp_path)(ROWS)
    filled = sum(map(len, forwards))
    done = []
    second = cached_reference(llama(), ROWS, 64, done.append, folder=tmp_path)(ROWS)
    assert filled == len(ROWS)
    assert sum(map(len, forwards)) - filled == cache.CHECKED_ROWS
    assert torch.equal(first, second) and sum(done) == len(ROWS)
    torch.testing.assert_close(first, store_reference(llama(), ROWS, 64)(ROWS), rtol=1e-5, atol=1e-4)


def test_the_line_of_a_run_distinguishes_what_was_read_and_computed(tmp_path):
    few, more = ROWS[:-2], ROWS
    lines = [
        reference_origin(cached_reference(llama(), rows, 64, folder=tmp_path)) for rows in (few, more, more)
    ]
    n = len(DistinctRows(ROWS))
    assert lines == [
        f"{n - 2} computed",
        f"{n - 2} read from the cache and 2 computed",
        f"{n} read from the cache",
    ]


def test_half_precision_has_a_file_of_its_own(tmp_path):
    """A float32 run and a bfloat16 run of one model: each reads what it would compute."""
    exact = cached_reference(llama(), ROWS, 64, folder=tmp_path)(ROWS)
    with arithmetic(llama(), "bfloat16"):
        rounded = cached_reference(llama(), ROWS, 64, folder=tmp_path)(ROWS)
        torch.testing.assert_close(store_reference(llama(), ROWS, 64)(ROWS), rounded)
    assert (exact - rounded).abs().max() > 1e-3
    names = {path.stem for path in tmp_path.glob("*.sqlite")}
    assert names == {reference_fingerprint(llama()) + end for end in ("", "-bfloat16")}


def test_a_crash_while_filling_keeps_every_finished_forward(tmp_path, monkeypatch, forwards):
    class Crash(BaseException):
        pass

    finished = []

    def stop_after(done):
        finished.append(done)
        if sum(finished) >= 3:
            raise Crash

    with pytest.raises(Crash):
        cached_reference(llama(), ROWS, 1, stop_after, folder=tmp_path)
    before = len(forwards)
    cached_reference(llama(), ROWS, 1, folder=tmp_path)
    assert len(forwards) - before == 3 + (len(ROWS) - 3)  # three stored rows checked, three computed


def test_writers_at_the_same_time(tmp_path):
    """Four connections, each with a model of its own, fill one file with the same rows and read alike."""
    models, start = [llama() for _ in range(4)], threading.Barrier(4)

    def fill(model):
        start.wait()
        return cached_reference(model, ROWS, 1, folder=tmp_path)(ROWS)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(fill, models)
    (file,) = tmp_path.glob("*.sqlite")
    assert sqlite3.connect(file).execute("SELECT count(*) FROM checked_logps").fetchone() == (len(ROWS),)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-5, atol=1e-4)


MANY = random_rows(60, 2, seed=2)


def shifted(key, sums):
    """All numbers of the row, 0.01 nats up."""
    return (np.frombuffer(sums, "<f4") + np.float32(0.01)).astype("<f4").tobytes()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache file with 60 rows."""
    folder = tmp_path_factory.mktemp("reference")
    cached_reference(llama(), MANY, 10_000, folder=folder)
    return next(folder.glob("*.sqlite"))


@pytest.mark.parametrize("change", ["shifted", "of another row", "cut", "text", "no checksum"])
def test_every_changed_row_is_found(tmp_path, filled, change):
    """Each of 60 rows in turn, the others as they were."""
    with sqlite3.connect(filled) as database:
        rows = dict(database.execute("SELECT key, sums FROM checked_logps").fetchall())
    keys = list(rows)
    assert len(keys) == 60
    other = dict(zip(keys, [*keys[1:], keys[0]], strict=True))
    for key, sums in rows.items():
        new = {
            "shifted": shifted(key, sums),
            "of another row": rows[other[key]],
            "cut": sums[:4],
            "text": "0123",
            "no checksum": sums,
        }[change]
        wanted = DistinctRows(MANY)
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            with contextlib.closing(sqlite3.connect(filled)) as source:
                source.backup(database)
            if change == "no checksum":
                database.execute("UPDATE checked_logps SET checksum = NULL WHERE key = ?", (key,))
            database.execute("UPDATE checked_logps SET sums = ? WHERE key = ?", (new, key))
            with pytest.raises(
                UserError, match=f"of row '{dict(wanted)[key].id}' were changed.*delete the file"
            ):
                cache._read(database, wanted, filled)


def test_a_changed_row_stops_the_run(tmp_path):
    cached_reference(llama(), ROWS, 64, folder=tmp_path)
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as database:
        key, sums = database.execute("SELECT key, sums FROM checked_logps").fetchone()
        database.execute("UPDATE checked_logps SET sums = ? WHERE key = ?", (shifted(key, sums), key))
    with pytest.raises(UserError, match="their checksum is wrong; delete the file and run again"):
        cached_reference(llama(), ROWS, 64, folder=tmp_path)


def test_numbers_that_the_model_does_not_give_are_an_error(tmp_path, monkeypatch):
    """Stored with right checksums, by another arithmetic."""
    other = llama(seed=1)
    monkeypatch.setattr(cache, "reference_fingerprint", lambda model: "same")
    cached_reference(other, ROWS, 64, folder=tmp_path)
    with pytest.raises(UserError, match=r"but the model gives .*; delete the file and run again"):
        cached_reference(llama(), ROWS, 64, folder=tmp_path)


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / f"{reference_fingerprint(llama())}.sqlite").write_text("not a database, " * 100)
    with pytest.raises(UserError, match="delete the file"):
        cached_reference(llama(), ROWS, 64, folder=tmp_path)


def test_one_changed_weight_or_setting_is_another_reference():
    model = llama()
    before = reference_fingerprint(model)
    assert reference_fingerprint(llama()) == before != reference_fingerprint(llama(seed=1))
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-6
    assert reference_fingerprint(model) != before
    assert reference_fingerprint(build(hf.LlamaConfig(**GROUPED, rms_norm_eps=1e-5))) != before


def test_adapters_and_packed_forwards_do_not_change_the_reference(tmp_path):
    """A LoRA run, even with trained adapters, shares the file of a full run."""
    model = llama()
    before = reference_fingerprint(model)
    expected = cached_reference(model, ROWS, 64, folder=tmp_path)(ROWS)
    assert reference_fingerprint(model) == before
    adapted = attach(llama(), LoraConfig(), seed=0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight += 1
    assert torch.equal(cached_reference(adapted, ROWS, 64, folder=tmp_path)(ROWS), expected)
    assert len(list(tmp_path.glob("*.sqlite"))) == 1


def test_the_mask_is_part_of_the_key(tmp_path):
    whole = make_row([1, 2], [3, 4], [5, 6])
    half = make_row([1, 2], [3, 4], [5, 6], masks=[[True, False], [True, True]])
    sums = cached_reference(llama(), [whole, half], 64, folder=tmp_path)([whole, half])
    assert sums[0, 0] != sums[1, 0]


def test_a_cache_that_another_process_is_setting_up_is_waited_for(tmp_path, monkeypatch):
    """SQLite refuses a change to the write-ahead log at once while another holds the file; we ask again."""
    asked = []

    class Busy(sqlite3.Connection):
        def execute(self, statement, *values):
            if "journal_mode" in statement and len(asked) < 2:
                asked.append(statement)
                raise sqlite3.OperationalError("database is locked")
            return super().execute(statement, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **settings: connect(path, factory=Busy, **settings))
    assert len(cached_reference(llama(), ROWS, 64, folder=tmp_path).table) == len(ROWS)
    assert len(asked) == 2
