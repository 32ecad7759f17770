"""What is written is read back as it was."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Labeled, Preference, Prompt
from boresight.data import write as module
from boresight.data.reading.load import read
from boresight.data.write import write_examples

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")

letters = st.characters(codec="utf-8")
contents = st.text(letters, min_size=1, max_size=12).filter(str.strip)
ids = st.text(letters, min_size=1, max_size=6)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(letters)
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(letters), v, max_size=3)
)
names = st.sampled_from(["id", "prompt", "chosen", "meta", "meta_json", "metadata", "label", "key", "x"])
metas = st.dictionaries(names | st.text(letters, max_size=5), values, max_size=3)
scores = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def turns(role: str) -> st.SearchStrategy:
    return contents.map(lambda content: {"role": role, "content": content})


@st.composite
def prompts(draw) -> list:
    system = draw(st.lists(st.just({"role": "system", "content": ""}) | turns("system"), max_size=1))
    rounds = draw(st.lists(st.tuples(turns("user"), turns("assistant")), max_size=2))
    return [*system, *(turn for pair in rounds for turn in pair), draw(turns("user"))]


def answers() -> st.SearchStrategy:
    longer = st.tuples(turns("assistant"), turns("user"), turns("assistant")).map(list)
    return turns("assistant").map(lambda turn: [turn]) | longer


pairs = st.builds(Preference, prompts(), answers(), answers(), ids, scores, scores, metas)
shown = st.builds(lambda p, a, id, meta: Demonstration(p + a, id, meta), prompts(), answers(), ids, metas)
asked = st.builds(Prompt, prompts(), ids, metas)
labeled = st.builds(Labeled, prompts(), answers(), st.booleans(), ids, metas)
lists = st.one_of(*(st.lists(kind, min_size=1, max_size=4) for kind in (pairs, shown, asked, labeled)))


@settings(max_examples=150, deadline=None)
@given(lists, st.sampled_from(SUFFIXES))
def test_round_trip(examples, suffix):
    """Any text that a tokenizer can take, any meta that JSON can hold, known scores and unknown ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"canonical{suffix}"
        write_examples(examples, path)
        assert read(path).examples == examples


@pytest.fixture
def pair() -> Preference:
    q, x, y = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "x"), ("assistant", "é")))
    return Preference([q], [x], [y], "7", 9.0, None, {"n": 1})


def test_canonical_line_is_trl_explicit(pair, tmp_path):
    write_examples([pair], tmp_path / "c.jsonl")
    line = (tmp_path / "c.jsonl").read_text()
    assert "é" in line
    assert json.loads(line) == {
        "id": "7",
        "prompt": pair.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "score_chosen": 9.0,
        "meta": {"n": 1},
    }


def test_equal_examples_give_equal_bytes(pair, tmp_path):
    for suffix in SUFFIXES:
        for name in ("one", "two"):
            write_examples([pair], tmp_path / (name + suffix))
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_datasets_reads_canonical_files(pair, tmp_path, monkeypatch):
    """The file is one that TRL's users can load: three lists of messages."""
    datasets = pytest.importorskip("datasets")
    write_examples([pair], tmp_path / "c.parquet")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "c.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows[0]["prompt"] == pair.prompt
    rows.save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved").examples == [pair]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failure_leaves_the_old_file_and_nothing_else(pair, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"c{suffix}"
    path.write_text("what was there")

    def fail(examples, temporary):
        temporary.write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setitem(module.WRITERS, suffix, fail)
    with pytest.raises(RuntimeError):
        write_examples([pair], path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there"


def test_refusals(pair, tmp_path):
    prompt = Prompt(pair.prompt, "1")
    for examples, name, message in (
        ([], "c.jsonl", "not no examples"),
        ([pair, prompt], "c.jsonl", "of one kind, not Preference and Prompt"),
        ([pair], "c.csv", "name it .jsonl or .jsonl.gz or .parquet"),
    ):
        with pytest.raises(UserError, match=message):
            write_examples(examples, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
