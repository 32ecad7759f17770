"""Pairs held against a verifier: every planted contradiction is named by its row, and nothing else is."""

import json
from dataclasses import replace

import pytest

from boresight.checks.data.verified import (
    EQUAL,
    FALSELY_BAD,
    FALSELY_GOOD,
    HIGHER,
    IMITATED_WRONG,
    RIGHT,
    WRONG,
    verify,
)
from boresight.cli import main
from boresight.core.errors import UserError
from boresight.data.reading.load import collect, read
from boresight.stats.intervals import clopper_pearson

TASKS = {
    "math": ({"answer": "Half of 84 is 42. #### 42"}, "So it is \\boxed{42}.", "So it is \\boxed{41}."),
    "exact": ({"answer": "Paris"}, "Paris", "London"),
    "contains": ({"answer": "Paris"}, "I would say Paris.", "I would say London."),
    "countdown": ({"numbers": [3, 4], "target": 7}, "<answer>3 + 4</answer>", "<answer>3 * 4</answer>"),
    "ifeval": (
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        "No comma here",
        "Commas, here, everywhere",
    ),
}


def pair(number, good, bad, **columns):
    return {"prompt": f"question {number}", "chosen": good, "rejected": bad, **columns}


@pytest.fixture
def loaded(tmp_path):
    def of(*rows, blank=0):
        path = tmp_path / "pairs.jsonl"
        path.write_text("\n" * blank + "".join(json.dumps(row) + "\n" for row in rows))
        return read(path, bad_rows="drop")

    return of


def found_in(verified):
    return {one.row: verified.contradictions(one) for one in verified.contradicted}


@pytest.mark.parametrize("reward", TASKS)
def test_each_verifier_names_the_rows_that_it_contradicts(loaded, reward):
    columns, good, bad = TASKS[reward]
    rows = [(good, bad), (bad, good), (good, good), (bad, bad), (good, bad)]
    verified = verify(loaded(*(pair(i, *row, **columns) for i, row in enumerate(rows))), reward)
    assert found_in(verified) == {2: [WRONG, RIGHT, HIGHER], 3: [RIGHT, EQUAL], 4: [WRONG, EQUAL]}
    assert verified.counts == {WRONG: 2, RIGHT: 2, HIGHER: 1, EQUAL: 2}
    share = verified.share()
    assert (share.value, share.n, share.missing) == (0.6, 5, 0)
    assert (share.low, share.high) == clopper_pearson(3, 5)
    assert verified.share(HIGHER).value == 0.2
    assert [p.id for p in verified.clean] == ["row-1", "row-5"]


DEMO = "src/boresight/data/demo/pairs.jsonl.gz"


def test_constraints_confirm_every_pair_of_the_demo_and_no_swapped_one():
    demo = collect(DEMO)
    assert verify(demo, "constraints").contradicted == []
    swapped = [replace(e, chosen=e.rejected, rejected=e.chosen) for e in demo.examples]
    verified = verify(replace(demo, examples=swapped), "constraints")
    assert set(verified.counts.values()) == {len(swapped), 0} and verified.counts[EQUAL] == 0
    assert verified.clean == []


def test_rows_are_those_of_the_file(loaded):
    """Blank lines and bad rows have numbers too."""
    bad = {"prompt": "q", "chosen": "x", "rejected": ""}
    found = loaded(pair(0, "B", "A", answer="A"), bad, pair(1, "B", "A", answer="A"), blank=2)
    assert list(found_in(verify(found, "exact"))) == [3, 5]


def test_pairs_of_one_prompt_are_one_unit_of_the_interval(loaded):
    rows = [pair(0, "A", "B", answer="A"), pair(0, "A", "C", answer="A"), pair(1, "B", "A", answer="A")]
    share = verify(loaded(*rows), "exact").share()
    assert share.n == 2 and share.value == pytest.approx(1 / 3)


def test_an_answer_without_a_score_is_missing_and_its_pair_is_neither_clean_nor_contradicted(loaded):
    rows = [
        pair(0, "\\boxed{1}", "\\boxed{2}", answer="1"),
        pair(1, "\\boxed{1}", "\\boxed{2}"),  # no gold answer at all
        pair(2, "\\boxed{1}", "\\boxed{2}", answer="it depends"),  # one that is no mathematics
    ]
    verified = verify(loaded(*rows), "math")
    assert [one.row for one in verified.missing] == [2, 3] and verified.contradicted == []
    assert "the gold answer in the column 'answer' is missing" in verified.missing[0].failure
    assert [p.id for p in verified.clean] == ["row-1"]
    share = verified.share()
    assert (share.value, share.n, share.missing) == (0.0, 1, 2)


def test_scores_outside_of_zero_to_one_are_compared_alone_unless_a_threshold_is_given(loaded, own):
    found = loaded(pair(0, "aaaa", "aa"), pair(1, "aa", "aaaa"), pair(2, "a", "b"))
    verified = verify(found, own)
    assert verified.counts == {HIGHER: 1, EQUAL: 1} and "lie outside of 0 to 1" in verified.rule
    assert found_in(verify(found, own, correct_at=3)) == {
        2: [WRONG, RIGHT, HIGHER],
        3: [WRONG, EQUAL],
    }


def test_a_function_that_raises_costs_the_pair_alone(loaded, own):
    verified = verify(loaded(pair(0, "aaaa", "aa"), pair(1, "boom", "aa")), own)
    assert [one.row for one in verified.missing] == [2]
    assert verified.missing[0].failure == "chosen: ValueError: boom"


def test_of_several_turns_the_last_is_scored(loaded):
    roles = {"x": "assistant", "y": "user", "A": "assistant"}
    turns = [{"role": role, "content": text} for text, role in roles.items()]
    row = {"prompt": [{"role": "user", "content": "q"}], "chosen": turns, "answer": "A"}
    row["rejected"] = [{"role": "assistant", "content": "B"}]
    assert verify(loaded(row), "exact").contradicted == []


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A reward of the user's own: the length, an error for `boom`."""
    (tmp_path / "own_pair_reward.py").write_text(
        "def size(prompts, completions, rows):\n"
        "    if 'boom' in completions:\n        raise ValueError('boom')\n"
        "    return [len(text) for text in completions]\n"
        "def lacking(completions, solution, **kwargs):\n    return [0.0 for _ in completions]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_pair_reward:size"


@pytest.mark.parametrize(
    ("row", "reward", "options", "message"),
    [
        ({"prompt": "q"}, "exact", {}, "holds no answers, which exact could score"),
        (pair(0, "A", "B"), "exact", {}, "not one of 1 rows could be scored with exact, for instance row 1"),
        (pair(0, "A", "B"), "exat", {}, "did you mean 'exact'"),
        (pair(0, "A", "B"), "nowhere:f", {}, "nowhere"),
        (pair(0, "A", "B"), "exact", {"colum": "x"}, "colum"),
        (pair(0, "A", "B"), "own_pair_reward:lacking", {}, "asks for the column solution, which no row has"),
    ],
)
def test_what_cannot_be_verified_is_one_sentence(loaded, own, row, reward, options, message):
    with pytest.raises(UserError) as refused:
        verify(loaded(row), reward, options)
    assert message in str(refused.value) and "\n" not in str(refused.value)


# Single answers -------------------------------------------------------------------------------------------


def answer(number, text, gold="A", **columns):
    return {"prompt": f"question {number}", "completion": text, "gold": gold, **columns}


def test_a_wrong_answer_to_imitate_is_named(loaded):
    verified = verify(loaded(answer(0, "A"), answer(1, "B"), answer(2, "A")), "exact", {"column": "gold"})
    assert found_in(verified) == {2: [IMITATED_WRONG]} and verified.counts == {IMITATED_WRONG: 1}
    assert [e.id for e in verified.clean] == ["row-1", "row-3"]


def test_a_label_that_contradicts_the_verifier_is_named(loaded):
    labels = [("A", True), ("A", False), ("B", True), ("B", False)]
    rows = [answer(i, text, label=label) for i, (text, label) in enumerate(labels)]
    verified = verify(loaded(*rows), "exact", {"column": "gold"})
    assert found_in(verified) == {2: [FALSELY_BAD], 3: [FALSELY_GOOD]}
    assert verified.share().value == 0.5


def test_single_answers_need_to_be_right_or_wrong(loaded, own):
    rows = [answer(0, "aaaa"), answer(1, "a")]
    with pytest.raises(UserError, match="set --correct-at"):
        verify(loaded(*rows), own)
    assert found_in(verify(loaded(*rows), own, correct_at=2)) == {2: [IMITATED_WRONG]}


# The command line -----------------------------------------------------------------------------------------


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main.main(["data", "check", *map(str, arguments)])
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def test_the_command_lists_rows_and_writes_the_clean_ones(check, loaded, tmp_path):
    rows = [pair(0, "A", "B", gold="A"), pair(1, "B", "A", gold="A"), pair(2, "A", "[b]C[/b]", gold="A")]
    loaded(*rows)
    arguments = ("pairs.jsonl", "--reward", "exact", "--option", "column=gold")
    code, out, err = check(*arguments, "--write", "clean.jsonl")
    assert code == 1 and not err
    assert "exact contradicts 1 of 3 scored pairs." in out and "33.3 % [" in out
    assert "2 pairs that exact confirms in clean.jsonl" in out
    assert [e.id for e in read(tmp_path / "clean.jsonl").examples] == ["row-1", "row-3"]
    code, out, _ = check("clean.jsonl", *arguments[1:])
    assert code == 0 and "exact contradicts 0 of 2 scored pairs." in out


def test_labels_are_checked_and_the_right_ones_written(check, loaded, tmp_path):
    loaded(answer(0, "A", label=True), answer(1, "A", label=False), answer(2, "B", label=False))
    arguments = ("pairs.jsonl", "--reward", "exact", "--option", "column=gold")
    code, out, _ = check(*arguments, "--write", "clean.jsonl")
    assert code == 1 and "exact contradicts 1 of 3 scored labeled answers." in out
    assert "2 labeled answers that exact confirms in clean.jsonl" in out
    assert [e.label for e in read(tmp_path / "clean.jsonl").examples] == [True, False]


def test_more_rows_than_a_table_shows_are_named_all_the_same(check, loaded):
    loaded(*(pair(i, "B", "A", answer="A") for i in range(103)))
    code, out, _ = check("pairs.jsonl", "--reward", "exact")
    assert code == 1 and "and rows 101, 102, 103" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--write", "x.jsonl"], "are for a reward; name it with --reward"),
        (["--option", "column=gold"], "are for a reward"),
        (["--reward", "exact", "--write", "pairs.jsonl"], "is the file that is checked"),
        (
            ["--reward", "exact", "--write", "there.jsonl"],
            "there.jsonl is there already; delete it, or write",
        ),
        (["--reward", "exact", "--write", "x.csv"], "cannot write this file type"),
        (["--reward", "exact", "--write", "x.jsonl"], "exact confirms no pair of pairs.jsonl"),
        (["--reward", "exact", "--correct-at", "nan"], "--correct-at: is nan"),
        (["--reward", "exact", "--option", "column"], "--option column: write it as name=value"),
        (["--reward", "mth"], "did you mean 'math'"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(check, loaded, tmp_path, arguments, message):
    loaded(pair(0, "B", "A", answer="A"))
    (tmp_path / "there.jsonl").write_text("mine")
    code, _, err = check("pairs.jsonl", *arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pairs.jsonl", "there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == "mine"
