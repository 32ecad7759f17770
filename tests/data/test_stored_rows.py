"""Token rows on the disk: the same as in memory, whatever their shapes, and made again where damaged."""

from __future__ import annotations

import errno
import io
import math
import tracemalloc

import numpy as np
import pytest
from rich.console import Console

from boresight.core import files
from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Labeled, Preference, Prompt
from boresight.data import tokenize
from boresight.data.rows import Completion, Row
from boresight.data.stored import cache, token_rows
from boresight.data.stored.token_rows import StoredRows, write_row_hashes, write_token_rows
from boresight.data.tokenize import FullRows, fit
from tests.data.test_chat import assistant, user
from tests.tiny import tiny_tokenizer


def random_outcomes(seed, examples):
    """Rows of any shape and reasons for none, up to three of each example; some with every odd text."""
    rng = np.random.default_rng(seed)

    def tokens(shortest):
        return rng.integers(0, 2**31 - 1, rng.integers(shortest, 9), dtype=np.int32)

    def outcome():
        id = str(rng.choice(["é\u2028", "\ud800", "", "x" * 300, "row-1"]))
        if rng.random() < 0.2:
            return id, UserError(f"row {id!r}: refused \ud800.")
        answers = [tokens(0) for _ in range(rng.integers(0, 4))]
        completions = tuple(Completion(ids, rng.random(len(ids)) < 0.5) for ids in answers)
        scores = tuple(rng.choice([math.nan, 1e-300, -0.0, 0.1], len(answers)).tolist())
        return Row(id, tokens(1), completions, scores=scores if rng.random() < 0.5 else ())

    return [[outcome() for _ in range(rng.integers(0, 4))] for _ in range(examples)]


def plain(outcome):
    """Everything that is in an outcome, as values that can be compared, with their types."""
    if not isinstance(outcome, Row):
        return outcome[0], type(outcome[1]), str(outcome[1])
    arrays = [outcome.prompt, *(part for c in outcome.completions for part in (c.ids, c.mask))]
    parts = [(part.dtype.str, part.tolist()) for part in arrays]
    return outcome.id, parts, repr(outcome.scores), outcome.truncated, len(outcome.completions)


@pytest.mark.parametrize("seed", range(8))
def test_rows_come_back_as_they_were(seed, tmp_path):
    made = random_outcomes(seed, examples=(0, 1, 40)[min(seed, 2)])
    write_row_hashes(tmp_path, write_token_rows(tmp_path, made))
    rows = StoredRows(tmp_path)
    rows.refuse_damaged()
    assert [*map(plain, rows)] == [plain(one) for outcomes in made for one in outcomes]
    by_example = [[*map(plain, rows.of_example(i))] for i in range(len(rows.ends))]
    assert by_example == [[*map(plain, outcomes)] for outcomes in made]


@pytest.mark.parametrize("truncation", ["drop", "cut"])
@pytest.mark.parametrize("seed", range(4))
def test_what_fits_is_the_same(seed, truncation, tmp_path):
    made = random_outcomes(seed, examples=40)
    write_token_rows(tmp_path, made)
    in_memory = fit([one for outcomes in made for one in outcomes], 9, truncation)
    mapped = fit(StoredRows(tmp_path), 9, truncation)
    assert [*map(plain, mapped.rows)] == [*map(plain, in_memory.rows)]
    assert mapped.dropped == in_memory.dropped and mapped.truncated == in_memory.truncated
    assert (mapped.total, [*mapped.places]) == (in_memory.total, [*in_memory.places])


def examples(count=6):
    """Some of every kind, one of which the template refuses."""
    asked, said = [user("which?")], [assistant("this")]
    kinds = [
        Preference(asked, said, [assistant("that")], "a", 1.0, math.nan),
        Demonstration([*asked, *said, *asked, *said], "b"),
        Labeled(asked, said, False, "c", {"weight": 2}),
        Prompt(asked, "d", {"numbers": [1, 2]}),
        Demonstration([*asked, {**said[0], "weight": 0}], "refused"),
    ]
    return [kinds[i % len(kinds)] for i in range(count)]


@pytest.fixture
def rendered(monkeypatch):
    """The ids of the examples that were rendered, in order."""
    found, render = [], tokenize.render_example

    def counting(tokenizer, example, end):
        found.append(example.id)
        return render(tokenizer, example, end)

    monkeypatch.setattr(tokenize, "render_example", counting)
    return found


def stored(given=None, tokenizer=None):
    """The rows of some examples as plain values, and what was printed."""
    printed = Console(file=io.StringIO(), width=1000)
    rows = FullRows(given or examples(), tokenizer or tiny_tokenizer()).stored(printed)
    return [*map(plain, rows)], printed.file.getvalue()


def test_a_second_run_maps_the_rows_of_the_first(rendered):
    first, _ = stored()
    assert len(rendered) == 6
    assert stored() == (first, "") and len(rendered) == 6


def test_rows_of_a_sample_are_not_made_again(rendered):
    rows = FullRows(examples(), tiny_tokenizer())
    sampled = [[*map(plain, made)] for made in rows.outcomes([1, 4])]
    everything = rows.stored()
    assert sorted(rendered) == sorted(example.id for example in examples())
    assert [[*map(plain, made)] for made in rows.outcomes([1, 4])] == sampled
    assert [*map(plain, everything)] == stored()[0]


def other_word():
    return [*examples()[:-1], Prompt([user("who?")], "a")]


def other_score():
    pair = examples()[0]
    return [Preference(pair.prompt, pair.chosen, pair.rejected, "a", 2.0, 1.0), *examples()[1:]]


def other_template():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", "<|im_end|> ", 1)
    return tokenizer


def other_vocabulary():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["which"])
    return tokenizer


@pytest.mark.parametrize(
    ("given", "tokenizer"),
    [(other_word, None), (other_score, None), (None, other_template), (None, other_vocabulary)],
)
def test_other_data_and_other_tokenizers_make_rows_of_their_own(given, tokenizer, rendered):
    stored()
    rendered.clear()
    found, said = stored(given and given(), tokenizer and tokenizer())
    assert len(rendered) == 6 and not said and found != stored()[0]


def test_columns_that_are_not_rendered_do_not_count(rendered):
    first, _ = stored()
    again = [Prompt(e.prompt, e.id, {"numbers": [9]}) if isinstance(e, Prompt) else e for e in examples()]
    assert stored(again) == (first, "") and len(rendered) == 6


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def headless(path):
    path.write_bytes(b"not an array")


@pytest.mark.parametrize("damage", [cut_short, flipped, headless, lambda path: path.unlink()])
@pytest.mark.parametrize(
    "name", ["tokens.npy", "tokens-ends.npy", "scored.npy", "scores.npy", "examples.npy", "rows.json"]
)
def test_damaged_rows_are_made_again(name, damage, rendered):
    first, _ = stored()
    (folder,) = cache._default_folder().iterdir()
    damage(folder / name)
    again, said = stored()
    assert again == first and len(rendered) == 12
    assert (
        said.startswith("token rows of an earlier run are damaged, so they are made again: ")
        and str(folder) in said
    )
    assert stored() == (first, "")


class Died(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("name", ["rows.json", "the folder"])
@pytest.mark.parametrize("point", ["start", "temporary", "done"])
def test_a_killed_run_leaves_nothing_that_is_read(point, name, monkeypatch, rendered):
    """Its temporary folder stays where it was killed, and goes with the next run that writes rows."""

    def die(at, path, data):
        if at == point and (path.name == "rows.json") == (name == "rows.json"):
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", die)
        patch.setattr(files.shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Died):
            stored()
    found, said = stored()
    once = (point, name) in [("start", "the folder"), ("done", "the folder")]
    assert not said and len(rendered) == (6 if once else 12)
    assert [*map(plain, FullRows(examples(), tiny_tokenizer()).stored())] == found
    assert not [*cache._default_folder().glob(".*")]


def test_rows_that_another_process_writes_are_left_alone():
    folder = cache._default_folder() / ".0.123.part"
    folder.mkdir(parents=True)
    lock = cache.FileLock(folder / cache.LOCK)
    assert lock.acquire()
    stored()
    assert folder.is_dir()
    lock.release()
    stored(examples(3))
    assert not folder.is_dir()


def test_a_cache_that_takes_nothing_is_no_obstacle(monkeypatch, rendered):
    first, _ = stored()
    monkeypatch.setattr(cache, "_default_folder", lambda: cache.Path("/proc/nothing"))
    found, said = stored()
    assert found == first
    assert said.startswith("token rows cannot be kept for another run: /proc/nothing: ")


def test_a_full_disk_raises_what_the_system_says(monkeypatch):
    """A run makes a sentence of it, as of every write."""

    def full(folder, outcomes):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(cache, "write_token_rows", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        stored()
    assert str(cache._default_folder()) in raised.value.filename
    assert not [*cache._default_folder().glob(".*")]


def live_bytes(folder, count):
    """Bytes of Python and numpy objects that `count` mapped rows take when all have been read."""
    row = Row("r", np.arange(200, dtype=np.int32), (Completion(np.ones(300, np.int32), np.ones(300, bool)),))
    write_token_rows(folder, ([row] for _ in range(count)))
    tracemalloc.start()
    try:
        kept = fit(StoredRows(folder), 1000).rows
        assert sum(row.tokens for row in kept) == 500 * count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_rows(tmp_path, monkeypatch):
    """Eight bytes a row for its place; a row in memory takes more than 2,500."""
    monkeypatch.setattr(token_rows, "RELEASED_EVERY", 100)
    small, large = (tmp_path / str(n) for n in (400, 4000))
    small.mkdir()
    large.mkdir()
    assert live_bytes(large, 4000) - live_bytes(small, 400) < 3600 * 16
