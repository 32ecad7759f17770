"""Votes: blind, on disk before the next question, whole after any crash, and fit to train on."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from boresight.arena.duels import Duels, make_duels, read_duels, short_name
from boresight.arena.votes import Votes
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.load import read
from boresight.evaluation.win_rate import System
from boresight.stats.intervals import share_interval


def some_duels(count=20, seed=0):
    prompts = [Prompt([{"role": "user", "content": f"question {i}"}], f"p{i}") for i in range(count)]
    systems = [System(name, {p.id: f"{name} says {p.id}" for p in prompts}) for name in ("old", "new")]
    return make_duels(prompts, tuple(systems), seed)


def no_duels(*names):
    return Duels(names, (), identical=0, missing=0)


def changed(duels, change):
    return replace(duels, duels=tuple(map(change, duels.duels)))


def side_of(duel, name):
    return "left" if duel.left[0] == name else "right"


def test_sides_and_order_are_drawn_and_drawn_alike_again():
    found = some_duels(200)
    lefts = sum(duel.left[0] == "old" for duel in found.duels)
    assert 75 < lefts < 125
    assert [d.prompt.id for d in found.duels] != sorted(d.prompt.id for d in found.duels)
    assert some_duels(200) == found and some_duels(200, seed=1) != found


def test_prompts_that_decide_nothing_are_left_out_and_counted():
    prompts = [Prompt([{"role": "user", "content": str(i)}], str(i)) for i in range(4)]
    a = System("a", {"0": "x", "1": "same", "2": None, "3": "y"})
    b = System("b", {"0": "z", "1": "same ", "2": "x"})
    found = make_duels(prompts, (a, b))
    assert (len(found.duels), found.identical, found.missing) == (1, 1, 2)
    assert found.sentence == (
        "1 prompt to vote on; 1 with equal answers is skipped; 2 with an answer missing are skipped."
    )


def test_votes_are_preference_pairs_that_the_readers_take(tmp_path):
    duels = some_duels()
    votes = Votes(tmp_path, duels)
    for duel in duels.duels[:3]:
        votes.add(duel, side_of(duel, "new"))
    votes.add(duels.duels[3], side_of(duels.duels[3], "old"))
    votes.add(duels.duels[4], "tie")
    loaded = read(tmp_path / "preferences.jsonl", kind="preference")
    assert len(loaded.examples) == 4 and loaded.bad == []
    first = loaded.examples[0]
    assert first.chosen[0]["content"] == f"new says {first.id}"
    assert first.rejected[0]["content"] == f"old says {first.id}"
    (tie,) = map(json.loads, (tmp_path / "ties.jsonl").read_text().splitlines())
    assert set(tie["answers"]) == {"old", "new"}
    assert votes.rate == share_interval([1.0, 1.0, 1.0, 0.0, 0.5])
    votes.close()


def test_votes_are_there_when_the_folder_is_opened_again(tmp_path):
    duels = some_duels()
    votes = Votes(tmp_path, duels)
    for duel in duels.duels[:5]:
        votes.add(duel, "left")
    rate = votes.rate
    with pytest.raises(UserError, match="another arena is writing there"):
        Votes(tmp_path, duels)
    votes.close()
    again = Votes(tmp_path, duels)
    assert len(again) == 5 and again.rate == rate and duels.duels[4].prompt.id in again
    again.close()
    with pytest.raises(UserError, match="the vote is between new and old"):
        Votes(tmp_path, no_duels("old", "other"))


def test_a_torn_last_line_is_cut_off_and_nothing_before_it(tmp_path):
    duels = some_duels()
    votes = Votes(tmp_path, duels)
    for duel in duels.duels[:3]:
        votes.add(duel, "left")
    votes.close()
    file = tmp_path / "preferences.jsonl"
    whole = file.read_bytes()
    two_lines = whole[: whole[:-1].rfind(b"\n") + 1]
    for end in (len(whole) - 1, len(whole) - 10, len(two_lines) + 1):
        file.write_bytes(whole[:end])
        torn = Votes(tmp_path, duels)
        assert len(torn) == 2 and file.read_bytes() == two_lines
        torn.close()


@pytest.mark.parametrize("content", [b'{"prompt": "x", "chosen": "y", "rejected": "z"}', b'{"prompt": "x'])
@pytest.mark.parametrize("name", ["preferences.jsonl", "ties.jsonl"])
def test_a_file_without_a_vote_is_not_truncated(tmp_path, name, content):
    """One row without a line break at its end, as editors write it: no incomplete vote."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: its only line is incomplete and may not be a vote"):
        Votes(tmp_path, some_duels())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {name: content}


def test_votes_go_to_a_folder(tmp_path):
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(UserError, match=r"--out: \S*t\.csv is a file; give a folder"):
        Votes(tmp_path / "t.csv", some_duels())


def test_a_line_that_is_no_vote_is_named(tmp_path):
    (tmp_path / "preferences.jsonl").write_text('{"prompt": "x", "chosen": "y", "rejected": "z"}\n')
    with pytest.raises(UserError, match="row 1: is not a vote of an arena"):
        Votes(tmp_path, no_duels("a", "b"))


@pytest.mark.parametrize(
    ("winner", "rejected", "why"),
    [
        ("a", [], "is not a vote of an arena"),
        ("c", [{"role": "assistant", "content": "y"}], "the vote is for neither of the two systems"),
    ],
)
def test_a_vote_that_cannot_count_is_named(tmp_path, winner, rejected, why):
    """A winner that is none of the two would count as a vote for the first."""
    chosen = [{"role": "assistant", "content": "x"}]
    meta = {"arena": {"systems": ["a", "b"], "winner": winner}}
    row = {"id": "1", "prompt": [], "chosen": chosen, "rejected": rejected, "meta": meta}
    (tmp_path / "preferences.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=f"row 1: {why}"):
        Votes(tmp_path, no_duels("a", "b"))


@pytest.mark.parametrize("choice", ["left", "right", "tie"])
def test_a_vote_counts_for_the_answers_that_it_was_given_on(tmp_path, choice):
    """Rows in another order, whose ids are their numbers, keep their votes. Answers of another training have
    none, nor do other prompts."""
    duels = some_duels()
    votes = Votes(tmp_path, duels)
    for duel in duels.duels[:5]:
        votes.add(duel, choice)
    votes.close()
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    moved = changed(duels, lambda duel: replace(duel, prompt=replace(duel.prompt, id=f"{duel.prompt.id}'")))
    again = Votes(tmp_path, moved)
    for old, new in zip(duels.duels, moved.duels, strict=True):
        assert (new.prompt.id in again) == (old in duels.duels[:5])
    assert {again.winner(duel.prompt.id) for duel in moved.duels[:5]} == {
        None if choice == "tie" else getattr(duel, choice)[0] for duel in duels.duels[:5]
    }
    again.close()

    file = "ties.jsonl" if choice == "tie" else "preferences.jsonl"
    says = rf"{file}, row 1: the vote is on a prompt or answers that are not those of old and new now; .*out"
    for other in (
        changed(duels, lambda duel: replace(duel, left=(duel.left[0], f"{duel.left[1]} again"))),
        changed(duels, lambda duel: replace(duel, right=(duel.right[0], f"{duel.right[1]} again"))),
        changed(duels, lambda duel: replace(duel, prompt=replace(duel.prompt, prompt=[]))),
    ):
        with pytest.raises(UserError, match=says):
            Votes(tmp_path, other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_runs_whose_names_differ_after_a_dot_do_not_share_their_votes(tmp_path):
    (tmp_path / "beta0.1").mkdir()
    paths = [tmp_path / "beta0.1", Path("beta0.2.jsonl"), Path("a.jsonl.gz"), Path("b.csv"), Path("c")]
    assert list(map(short_name, paths)) == ["beta0.1", "beta0.2", "a", "b", "c"]


def test_the_last_vote_can_be_taken_back_once(tmp_path):
    duels = some_duels()
    votes = Votes(tmp_path, duels)
    votes.add(duels.duels[0], "left")
    before = (tmp_path / "preferences.jsonl").read_bytes()
    votes.add(duels.duels[1], "right")
    first, last = (duel.prompt.id for duel in duels.duels[:2])
    assert not votes.undo(first) and len(votes) == 2
    assert votes.undo(last)
    assert (tmp_path / "preferences.jsonl").read_bytes() == before and len(votes) == 1
    assert not votes.undo(last) and not votes.undo(first)
    votes.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from boresight.arena.votes import Votes
from tests.arena.test_votes import some_duels
duels = some_duels()
votes = Votes(Path(sys.argv[1]), duels)
for duel in duels.duels[:7]:
    votes.add(duel, "left")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_has_lost_no_vote(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == -signal.SIGKILL
    votes = Votes(tmp_path, some_duels())
    assert len(votes) == 7
    votes.close()


def test_files_are_matched_by_prompt(tmp_path):
    for name, order in (("a", [0, 1, 2]), ("b", [2, 1, 0])):
        rows = [{"prompt": f"q{i}", "answer": f"{name}{i}"} for i in order]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_duels(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert found.names == ("a", "b")
    for duel in found.duels:
        assert {text[1] for _, text in (duel.left, duel.right)} == {duel.prompt.prompt[0]["content"][1]}
    with pytest.raises(UserError, match="is given twice"):
        read_duels(tmp_path / "a.jsonl", tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["mine", "start model"])
def test_one_run_competes_with_its_start_model(tmp_path, name):
    """Also one whose folder has the name of the other system."""
    run = tmp_path / name
    run.mkdir()
    rows = [{"id": f"{i}", "prompt": f"q{i}", "before": f"old{i}", "after": f"new{i}"} for i in range(3)]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_duels(run, None)
    tuned = name if name == "mine" else str(run)
    assert found.names == ("start model", tuned) and len(found.duels) == 3
    for duel in found.duels:
        number = duel.prompt.id
        assert dict((duel.left, duel.right)) == {"start model": f"old{number}", tuned: f"new{number}"}
    (run / "samples.jsonl").write_text(json.dumps({"prompt": "q", "after": "a"}) + "\n")
    with pytest.raises(UserError, match=r"row 1: the start model's answer \(`before`\) is missing"):
        read_duels(run, None)
    with pytest.raises(UserError, match="is no run folder"):
        read_duels(run / "samples.jsonl", None)
