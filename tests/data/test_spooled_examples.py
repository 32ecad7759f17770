"""Examples beyond a limit are on the disk: the same examples, splits and mixtures, in bounded memory."""

from __future__ import annotations

import datetime
import errno
import io
import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from boresight.checks.inputs import read_examples
from boresight.config.recipe import DataSection, Recipe
from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Labeled, Preference, Prompt
from boresight.data.check_file import check_file
from boresight.data.prepare import Dataset, DatasetCache, prepare
from boresight.data.reading.load import read
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.reading.split import hold_out, read_split
from boresight.data.stored import examples as stored_examples
from boresight.data.stored.digests import DigestSet, distinct_ids, group_numbers
from boresight.data.stored.examples import SpooledExamples
from boresight.runs.train import run_training
from tests.data.test_chat import assistant, user
from tests.data.test_stored_rows import plain
from tests.tiny import tiny_tokenizer
from tests.training import killed

TEXTS = ["", "\ud800", "\ud83d\ude00", "é\u2028\x00", "x" * 5000, '"\\']
DEEP: list = []
for _ in range(300):
    DEEP = [DEEP]
PLAIN = [{}, {"n": 10**30, "f": float("inf"), "deep": [{"a": None, "b": [True, 1, 1.0, -0.0]}]}]
NOT_IN_JSON = [
    {"day": datetime.date(2026, 11, 29), "after": 1},
    {"pair": [(1, 2)]},
    {"keys": {1: "key"}},
    {"raw": b"\xff"},
    {"s": {1}},
    {"taken": {stored_examples.KEPT: 0}},
    {"deep": DEEP},
]


def spool(monkeypatch, folder):
    """Every example is on the disk but the first, in a folder of its own."""
    monkeypatch.setattr(stored_examples, "IN_MEMORY", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


@pytest.fixture
def spooled(monkeypatch, tmp_path):
    spool(monkeypatch, tmp_path)


def every_kind():
    """Examples of all kinds with every text and every column."""
    for n, text in enumerate(TEXTS):
        turns = ([user(text)], [{**assistant(text), "weight": 1, "tool_calls": [{"id": text}]}])
        for meta in (*PLAIN, *NOT_IN_JSON):
            yield Prompt(turns[0], f"p{n}", meta, as_text=True)
            yield Demonstration(turns[0] + turns[1], text, meta)
            yield Preference(*turns, turns[1], "pair", 0.1, None, meta)
            yield Labeled(*turns, n % 2 == 0, "l", meta)


def test_examples_come_back_as_they_were(spooled):
    given, kept = [*every_kind()], SpooledExamples()
    for example in given:
        kept.append(example)
    assert [*map(repr, kept)] == [*map(repr, given)]  # types too, and the sign of zero
    assert kept == given and given == kept and kept != given[1:]
    assert all(e.as_text for e in kept if isinstance(e, Prompt))
    assert kept[-1] == given[-1] and kept[2:9:3] == given[2:9:3] and [*reversed(kept)] == given[::-1]
    with pytest.raises(IndexError):
        kept[len(given)]


def written(path, count, prompts=None, **columns):
    """A file of pairs, some with prompts of others, and with ids that come twice."""
    rows = (
        {"id": f"row-{i % (count - 3)}", "prompt": f"say {i % (prompts or count)}", "chosen": f"yes {i}",
         "rejected": "no", **columns}
        for i in range(count)
    )  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prepared(data, seed=0):
    made = prepare(Dataset(data, "preference", seed), tiny_tokenizer(), Console(file=io.StringIO()))
    sides = (made.train, made.eval)
    return [([*map(plain, side.rows)], [*side.examples], side.owners.tolist(), side.facts) for side in sides]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limit": 11, "eval_rows": 7, "eval_half": "selection"},
        {"score": "last", "system": "fold", "max_length": 60, "truncation": "cut"},
        {"weight": "w"},
        {"mixed": True},
        {"eval": True, "eval_rows": 5},
    ],
)
def test_a_run_has_the_same_rows(settings, tmp_path, monkeypatch):
    """In the same order, with the same ids and facts, wherever the text is."""
    files = [
        written(tmp_path / f"{name}.jsonl", 40, prompts, w=0.5) for name, prompts in (("a", 30), ("b", 9))
    ]
    settings = dict(settings)
    train = dict.fromkeys(files, 0.5) if settings.pop("mixed", False) else files[0]
    other = {"eval": files[1]} if settings.pop("eval", False) else {}
    data = DataSection.model_validate({"train": train, **other, **settings})
    in_memory = prepared(data)
    spool(monkeypatch, tmp_path)
    assert prepared(data) == in_memory
    for rows, *_ in in_memory:
        assert len({id for id, *_ in rows}) == len(rows) > 0


@pytest.mark.parametrize(("method", "kind"), [("dpo", "preference"), ("xpo", "prompt")])
def test_a_run_is_the_same(method, kind, tmp_path, monkeypatch):
    """Every logged number, the weights and the answers, with most of nine rows on the disk."""
    recipe = Recipe.parse(killed.small_recipe(killed.make_base(tmp_path), method, None))
    for name in ("whole", "spooled"):
        run_training(recipe, tmp_path / name, Console(quiet=True))
        monkeypatch.setattr(stored_examples, "IN_MEMORY", 2000)
    kept = read(tmp_path / f"{kind}.jsonl").examples
    assert 0 < len(kept._rest) < len(kept) == 9
    whole, spooled = tmp_path / "whole", tmp_path / "spooled"
    assert killed.lines(whole) == killed.lines(spooled)
    findings = [killed.text(run, "findings.jsonl").splitlines() for run in (whole, spooled)]
    assert findings[0] == [line for line in findings[1] if "examples-sampled" not in line]
    for name in ("model/model.safetensors", "samples.jsonl", "evaluation.json", "data.json"):
        assert (spooled / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_file_is_checked_the_same(tmp_path, monkeypatch):
    path = written(tmp_path / "a.jsonl", 40, 9)
    in_memory = check_file(path)
    assert {count.label: count.count for count in in_memory.counts}["repeated prompts"] == 31
    spool(monkeypatch, tmp_path)
    assert check_file(path) == in_memory


@pytest.mark.parametrize("seed", range(5))
def test_held_out_are_those_that_a_plain_split_holds_out(seed):
    """The split of every earlier run: groups by prompt in a seeded order, as many as there is room for."""
    rng = np.random.default_rng(seed)
    asked = [Prompt([user(f"say {n}")], f"{i}") for i, n in enumerate(rng.integers(0, 30, 100))]
    groups: dict[str, list[int]] = {}
    for place, example in enumerate(asked):
        groups.setdefault(prompt_key(example), []).append(place)
    held: set[int] = set()
    for group in np.random.default_rng((seed, 0)).permutation(len(groups)):
        places = [*groups.values()][group]
        held |= set(places) if len(held) + len(places) <= 12 else set()
    train, held_out = hold_out(asked, 12, seed)
    assert [int(e.id) for e in held_out] == sorted(held)
    assert [int(e.id) for e in train] == sorted(set(range(100)) - held)


def test_texts_are_compared_without_being_kept():
    texts = ["b", "a", "b", "\ud800", "a"]
    assert group_numbers(texts).tolist() == [0, 1, 0, 2, 1] and group_numbers([]).tolist() == []
    known = DigestSet(texts)
    assert len(known) == 3 and "a" in known and "\ud800" in known and "c" not in known
    assert "a" not in DigestSet([])
    asked = [Prompt([user("?")], id) for id in ["x", "y", "x", "x"]]
    assert [e.id for e in distinct_ids(asked)] == ["x", "y", "x#2", "x#3"]


@pytest.mark.parametrize("when", ["opened", "written", "flushed"])
def test_a_disk_that_takes_no_text_ends_with_a_sentence(spooled, monkeypatch, tmp_path, when):
    class FullFile(io.BufferedRandom):
        def write(self, data):
            return full() if when == "written" else super().write(data)

        def flush(self):
            return full() if when == "flushed" else super().flush()

    def full(**place):
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = FullFile(io.FileIO(tmp_path / "text", "w+"))
    monkeypatch.setattr(tempfile, "TemporaryFile", full if when == "opened" else lambda **place: opened)
    with pytest.raises(UserError, match=r"boresight: the text .* \(No space left on device\); make room"):
        [*read(written(tmp_path / "a.jsonl", 20)).examples]


def test_the_text_has_no_name_on_the_disk(spooled, tmp_path):
    """So a killed run leaves none."""
    found = read(written(tmp_path / "a.jsonl", 20))
    assert len(found.examples) == 20 and not [*(tmp_path / "cache/boresight").iterdir()]


def peak_bytes(path, count):
    """Most bytes of Python and numpy objects while a file is read, split, checked and tokenized."""
    source = written(path, count, meta={"text": "m" * 4000})
    recipe = Recipe.parse({"method": {"name": "dpo"}, "data": {"train": source}, "optim": {"lr": 1e-3}})
    tracemalloc.start()
    try:
        data = DatasetCache().of(recipe, "preference")
        assert len(read_examples(data).trained_keys) >= 0.8 * count
        made = prepare(data, tiny_tokenizer(), Console(file=io.StringIO()))
        assert sum(row.tokens > 0 for row in made.train.rows) == len(made.train.rows) >= 0.8 * count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_data(spooled, tmp_path, monkeypatch):
    """Less than 200 bytes an example, about 80, of the 5,400 that one takes in memory."""
    for setting, count in {
        "tokenize.CHUNK": 8,
        "reading.load.SAMPLE": 10,
        "reading.files.BLOCK": 4096,
    }.items():
        monkeypatch.setattr(f"boresight.data.{setting}", count)
    peak_bytes(tmp_path / "warm.jsonl", 100)
    small, large = (peak_bytes(tmp_path / f"{count}.jsonl", count) for count in (1000, 2000))
    assert large - small < 1000 * 200, (small, large)


def test_a_bad_row_is_named_the_same(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    lines = Path(written(path, 20)).read_text().splitlines()
    path.write_text(
        "\n".join([*lines[:14], json.dumps({"prompt": 5, "chosen": "a", "rejected": "b"}), *lines[14:]])
    )
    found = []
    for _ in ("in memory", "on the disk"):
        with pytest.raises(UserError) as raised:
            read(path)
        dropped = read(path, bad_rows="drop")
        found.append((str(raised.value), dropped.bad, dropped.sentence, [*dropped.rows]))
        spool(monkeypatch, tmp_path)
    assert found[0] == found[1] and "row 15: `prompt`" in found[0][0]


def test_a_split_of_files_reads_lines_of_both(spooled, tmp_path):
    data = DataSection(train=written(tmp_path / "a.jsonl", 30), eval_rows=5)
    assert len(read_split(data, "preference", 0).eval.examples) == 5
