"""Recorded verdicts as judge: found by prompt and texts, combined over raters, else missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.arena.duels import Duel, Duels
from boresight.arena.votes import Votes
from boresight.core.errors import UserError
from boresight.scorers.judges import recorded
from boresight.scorers.judges.base import NO_ANSWER
from boresight.stats.intervals import clustered_share
from tests.scorers.fakes import prompt


def verdict(number, a="good", b="bad", **given):
    return {"prompt": f"question {number}", "completion_a": a, "completion_b": b, **given}


@pytest.fixture
def judge(tmp_path):
    def of(*rows):
        path = tmp_path / "verdicts.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return recorded.build(recorded.Config(file=str(path)))

    return of


def preference(judge, number=0, a="good", b="bad"):
    return judge.compare([prompt(number)], [a], [b])[0].preference


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({"preference": 0.8}, 0.8),
        ({"preference": "0.8"}, 0.8),
        ({"preferred": "B"}, 0.0),
        ({"winner": "model_a"}, 1.0),
        ({"winner": "tie (bothbad)"}, 0.5),
        ({"votes": {"a": 3, "b": 1}}, 0.75),
        ({"votes": {"a": 1, "b": 0, "tie": 1}}, 0.75),
        ({"votes": ["a", "b", 0.25]}, 1.25 / 3),
        ({"votes": '["a", "a", "b"]'}, 2 / 3),
        ({"votes": '{"a": 3, "b": 1}'}, 0.75),
    ],
)
def test_a_verdict_is_read_in_any_spelling_and_in_either_order(judge, given, share):
    found = judge(verdict(0, **given))
    assert preference(found) == pytest.approx(share)
    assert preference(found, a="bad", b="good") == pytest.approx(1 - share)


def test_every_pair_of_names_and_a_conversation_are_read(judge):
    rows = [
        {"prompt": "question 0", "answer_a": "x", "answer_b": "y", "winner": "a"},
        {"question": "question 1", "response_a": "x", "response_b": "y", "winner": "b"},
        {"prompt": prompt(2).prompt, "completion_a": "x", "completion_b": "", "winner": "a"},
        {"prompt": "question 3", "chosen": "x", "rejected": "y"},
        {"prompt": prompt(4).prompt, "chosen": [{"role": "assistant", "content": "x"}],
         "rejected": [{"role": "assistant", "content": "y"}]},
    ]  # fmt: skip
    found = judge(*rows).compare([prompt(i) for i in range(5)], ["x"] * 5, ["y", "y", "", "y", "y"])
    assert [j.preference for j in found] == [1, 0, 1, 1, 1]


def test_an_empty_cell_is_an_empty_answer_where_the_column_is_there(judge):
    found = judge(verdict(0, winner="a"), verdict(1, b=None, winner="a"))
    assert preference(found, 1, b="") == 1.0


def test_the_folder_of_an_arena_has_its_votes_and_its_ties(tmp_path):
    votes = Votes(tmp_path / "arena", Duels(("old", "new"), (), 0, 0))
    for number, choice in enumerate(("left", "right", "tie")):
        votes.add(Duel(prompt(number), ("old", f"x{number}"), ("new", f"y{number}")), choice)
    votes.close()
    found = recorded.RecordedJudge(tmp_path / "arena")
    assert [preference(found, i, f"x{i}", f"y{i}") for i in range(3)] == [1.0, 0.0, 0.5]


def test_what_has_no_verdict_is_missing_and_never_a_tie(judge):
    found = judge(verdict(0, winner="a")).compare(
        [prompt(0), prompt(1), prompt(0), prompt(0)],
        ["good", "good", "good", None],
        ["bad", "bad", "new", "bad"],
    )
    assert [j.preference for j in found] == [1.0, None, None, None]
    assert found[1].failure.split(":")[0] == found[2].failure.split(":")[0] == recorded.NOT_RECORDED
    assert found[3].failure == NO_ANSWER


def test_raters_count_as_their_mean_and_their_agreement_is_known(judge):
    found = judge(
        verdict(0, winner="a", rater="x"),
        verdict(0, winner="a", rater="y"),
        verdict(0, "bad", "good", winner="a", rater="z"),  # the other order: for `bad`
        verdict(1, winner="a", rater="x"),
        verdict(1, winner="a", rater="y"),
        verdict(2, winner="b", rater="x"),
    )
    assert [preference(found, i) for i in range(3)] == pytest.approx([2 / 3, 1.0, 0.0])
    (judged,) = found.compare([prompt(0)], ["good"], ["bad"])
    assert judged.reasoning == "2 for a, 1 for b"
    # Of the three pairs of raters of question 0 one agrees, of question 1 all.
    assert found.raters.accuracy == clustered_share([[1 - 2 / 3], [1.0]])
    assert found.raters.comparisons == 2
    assert judge(verdict(0, winner="a"), verdict(1, winner="b")).raters is None


def test_votes_of_one_row_are_raters(judge):
    found = judge(verdict(0, votes={"a": 2, "b": 1}), verdict(1, votes=["a", 0.9]))
    assert found.raters.accuracy == clustered_share([[1 - 2 / 3], [1.0]])


def test_contradicting_rows_of_one_rater_count_for_nothing_and_are_named(judge):
    found = judge(
        verdict(0, winner="a"),
        verdict(1, winner="a"),
        verdict(0, "bad", "good", winner="a"),
        verdict(1, "bad", "good", winner="b"),  # the same verdict, shown the other way round
        verdict(2, preference=0.2),
        verdict(2, "bad", "good", preference=0.8),
    )
    (lost,) = found.compare([prompt(0)], ["good"], ["bad"])
    assert lost.preference is None and lost.failure == "contradicting verdicts: rows 1 and 3 of one rater"
    assert preference(found, 1) == 1.0 and preference(found, 2) == 0.2
    contradiction, repeats, unused = found.notes[0], found.notes[1], found.notes[2:]
    assert "On 1 comparison, two verdicts of one rater contradict" in contradiction
    assert "rows 1 and 3" in contradiction
    assert repeats == "2 rows repeat an earlier verdict of one rater; each counts once."
    assert unused == []


def test_another_rater_decides_where_one_contradicts_itself(judge):
    rows = [verdict(0, winner="a", rater="x"), verdict(0, winner="b", rater="x")]
    assert preference(judge(*rows, verdict(0, winner="b", rater="y"))) == 0.0
    assert preference(judge(*rows, verdict(0, winner="a", rater="x"))) is None


def test_verdicts_without_use_are_counted(judge):
    found = judge(verdict(0, winner="a"), verdict(1, winner="a"))
    preference(found, 0)
    assert "Of 2 comparisons in" in found.notes[0] and "1 are not of these answers" in found.notes[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (verdict(0), "`preference` is missing; give one of votes, preference, preferred, winner"),
        (verdict(0, preference=1.5), "`preference` is 1.5; write a, b or tie, or the share of a"),
        (verdict(0, preference=-2), "`preference` is -2;"),
        (verdict(0, preference=True), "`preference` is True;"),
        (verdict(0, preference="nan"), "`preference` is 'nan';"),
        (verdict(0, preference=[1]), "`preference` is [1];"),
        (verdict(0, preference=10**400), "`preference` is 1000"),
        (verdict(0, winner=1), "`winner` is 1; write a, b or tie"),
        (verdict(0, winner="gpt-4"), "`winner` is 'gpt-4'; write a, b or tie"),
        (verdict(0, winner="a", preference=0.1), "`winner` names another winner than `preference`"),
        (verdict(0, votes={"a": 0, "b": 0}), "`votes` counts no vote"),
        (verdict(0, votes=[]), "`votes` counts no vote"),
        (verdict(0, votes={"a": -1, "b": 2}), "`votes` has the count -1"),
        (verdict(0, votes={"a": 10**12}), "`votes` has the count 1000000000000"),
        (verdict(0, votes={"a": 1.5}), "`votes` has the count 1.5"),
        (verdict(0, votes={"c": 1}), "`votes` is 'c'"),
        (verdict(0, votes=3), "`votes` is neither counts"),
        (verdict(0, votes="[" * 10**5), "`votes` is neither counts"),
        (verdict(0, votes='{"a": 1e999}'), "`votes` has the count inf"),
        (verdict(0, a=7, winner="a"), "`completion_a` is int, not text"),
        ({"prompt": "q", "completion_a": "x", "winner": "a"}, "`completion_b` is missing"),
        (
            {"prompt": "q", "answers": {"x": "1"}, "meta": {"arena": {}}},
            "is no verdict and no preference pair",
        ),
        (verdict(0, "same", "same", winner="a"), "prefers one of two equal answers"),
        ({"completion_a": "x", "completion_b": "y", "winner": "a"}, "`prompt` is missing"),
        ({"prompt": "q", "completion": "x"}, "is no verdict and no preference pair; the columns are prompt,"),
        (["prompt"], "`record` is str, not an object"),
    ],
)
def test_a_row_that_is_no_verdict_is_one_sentence(judge, row, message):
    with pytest.raises(UserError) as refused:
        judge(row)
    assert message in str(refused.value) and ", row 1:" in str(refused.value)
    assert str(refused.value).count("\n") == 0


def test_a_file_without_rows_or_that_is_not_there_is_refused(judge, tmp_path):
    with pytest.raises(UserError, match="holds no verdict"):
        judge()
    with pytest.raises(UserError, match="no such file"):
        recorded.build(recorded.Config(file=str(tmp_path / "none.jsonl")))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_swapping_the_answers_mirrors_any_verdicts(tmp_path_factory, votes):
    path = tmp_path_factory.mktemp("votes") / "v.jsonl"
    path.write_text(json.dumps(verdict(0, votes=votes)))
    found = recorded.RecordedJudge(path)
    assert preference(found) == pytest.approx(1 - preference(found, a="bad", b="good"))
