"""Answers that the token limit cut are marked beside the answer and counted, wherever answers are shown."""

import json
from html.parser import HTMLParser

import pytest

from boresight.arena.duels import read_duels
from boresight.arena.result import judged_prompts, next_commands
from boresight.arena.server import Arena
from boresight.arena.votes import Votes
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.core.wording import is_or_are
from boresight.evaluation.graded.completions import read_completions, write_completions
from boresight.evaluation.response import Response
from boresight.evaluation.win_rate import win_rate
from boresight.reports.compare import write_comparison
from boresight.reports.evaluations.win_rate import samples
from boresight.reports.page import write_report
from boresight.scorers.judges.base import Judgment
from tests.reports.fake_run import write_fake_run

BEFORE, AFTER = (None, 64, None), (64, None, 48)
"""Of three prompts, the tokens at which the answers before and after training were cut."""


class _Payload(HTMLParser):
    found = ""
    inside = False

    def handle_starttag(self, tag, attrs):
        self.inside = dict(attrs).get("id") == "payload"

    def handle_data(self, data):
        if self.inside:
            self.found += data


def payload(html):
    parser = _Payload()
    parser.feed(html)
    return json.loads(parser.found)


def write_run(folder, marked=True):
    """A run of three prompts, with or without the fields of cut answers, which earlier versions lack."""
    write_fake_run(folder, steps=24)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()][:3]
    for row, before, after in zip(rows, BEFORE, AFTER, strict=True):
        row |= {"before": f"old {row['id']}", "after": f"new {row['id']}"}
        if marked:
            row |= {"before_cut_at": before, "after_cut_at": after}
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


def test_a_report_marks_and_counts_them(run):
    html = write_report(run).read_text()
    cuts = [sample["cuts"] for sample in payload(html)["samples"]]
    assert cuts == [["", "cut at 64 tokens"], ["cut at 64 tokens", ""], ["", "cut at 48 tokens"]]
    said = "Answers cut at the token limit: before training 1 of 3, after training 2 of 3."
    assert f">{said}</p>" in html


def test_a_comparison_marks_those_after_training(run, tmp_path):
    other = write_run(tmp_path / "other", marked=False)
    html = write_comparison([run, other], tmp_path / "compare.html").page.read_text()
    cuts = [sample["cuts"] for sample in payload(html)["samples"]]
    assert cuts == [["cut at 64 tokens", ""], ["", ""], ["cut at 48 tokens", ""]]
    assert "Answers cut at the token limit: run 2 of 3, other 0 of 3." in html


def test_a_run_of_an_earlier_version_shows_nothing(tmp_path):
    html = write_report(write_run(tmp_path / "run", marked=False)).read_text()
    assert [sample["cuts"] for sample in payload(html)["samples"]] == [["", ""]] * 3
    assert "Answers cut at the token limit" not in html


def test_a_value_that_is_no_count_is_no_mark(run):
    rows = (run / "samples.jsonl").read_text().replace("64", '"64"')
    (run / "samples.jsonl").write_text(rows)
    html = write_report(run).read_text()
    assert [sample["cuts"] for sample in payload(html)["samples"]][:2] == [["", ""]] * 2


def test_the_arena_marks_the_side_that_was_cut(run, tmp_path):
    """Three of six answers; the marks follow their answers to the left or to the right."""
    duels = read_duels(run, None)
    assert duels.sentence.endswith("; 3 of 6 answers are cut at the token limit.")
    ends = {(name, duel.prompt.id): cut for duel in duels.duels
            for (name, _), cut in zip((duel.left, duel.right), duel.cut_at, strict=True)}  # fmt: skip
    ids = [json.loads(line)["id"] for line in (run / "samples.jsonl").read_text().splitlines()]
    assert [ends["start model", id] for id in ids] == list(BEFORE)
    assert [ends["run", id] for id in ids] == list(AFTER)
    votes = Votes(tmp_path / "votes", duels)
    with Arena(duels, votes) as server:
        shown = payload(server.page())["duels"]
        assert sorted(mark for duel in shown for mark in duel["cuts"].values()) == [
            "", "", "", "cut at 48 tokens", "cut at 64 tokens", "cut at 64 tokens",
        ]  # fmt: skip
        for duel in duels.duels:
            votes.add(duel, "left")
        judged = {each.id: each.answers for each in judged_prompts(duels, votes)}
        assert [judged[id][1].cut for id in ids] == ["cut at 64 tokens", "", "cut at 48 tokens"]
        server.revealed = True
        assert server.page().count('<span class="badge">cut at') == 3
        won = sum(duel.cut_at[0] is not None for duel in duels.duels)
        (_, _), (_, purpose) = next_commands(votes, judged_prompts(duels, votes))
        assert purpose.startswith(
            f"train on them; {won} of 3 chosen answers {is_or_are(won)} cut at the token limit"
        )
    votes.close()
    stored = [json.loads(line) for line in (tmp_path / "votes" / "preferences.jsonl").open()]
    tokens = [row["meta"]["arena"].get("cut_at", {}).values() for row in stored]
    assert sorted(count for counts in tokens for count in counts) == [48, 64, 64]


class AlwaysTied:
    name = "tied"

    def compare(self, prompts, a, b, repeat=0):
        return [Judgment(0.5)] * len(prompts)


def test_an_evaluation_marks_both_systems(run):
    from boresight.evaluation.matching import matched
    from boresight.evaluation.systems import prompts_of, read_answers, read_start_answers

    after, before = read_answers(run), read_start_answers(run)
    prompts = prompts_of(after, run)
    old, new = matched("old", prompts, before, run), matched("new", prompts, after, run)
    rows = samples([win_rate(prompts, old, new, AlwaysTied())], ["old", "new"])
    assert [row["cuts"] for row in rows] == [
        ["", "cut at 64 tokens"], ["cut at 64 tokens", ""], ["", "cut at 48 tokens"],
    ]  # fmt: skip


def test_stored_answers_keep_their_marks(run, tmp_path):
    """Answers that were generated, written and read again, as an evaluation that continues does."""
    from boresight.evaluation.systems import as_system, prompts_of, read_answers, write_answers

    prompts = prompts_of(read_answers(run), run)
    found = [[Response("a", True, 64)], [Response("b", False)], [Response(None)]]
    write_answers(tmp_path / "answers.jsonl", prompts, as_system("x", prompts, found))
    assert [row.cut_at for row in read_answers(tmp_path / "answers.jsonl")] == [64, None, None]


def test_a_response_of_unknown_length_has_a_mark_without_a_number():
    marks = [Response("a", True, 64), Response("a", True), Response("a", False), Response("a")]
    assert [response.cut_mark for response in marks] == ["cut at 64 tokens", "cut at the token limit", "", ""]


def test_a_file_of_completions_keeps_where_each_was_cut(tmp_path):
    path = tmp_path / "completions.jsonl"
    given = [[Response("a", False), Response("b", True, 64)], [Response("c", True)]]
    asked = [Prompt([{"role": "user", "content": str(n)}], f"p{n}", {}) for n in range(2)]
    write_completions(path, asked, given)
    assert [list(row.responses) for row in read_completions(path)] == given


@pytest.mark.parametrize("cut_at", [[64], [64, "64"], [64, -1], "64"])
def test_cuts_that_are_not_one_number_each_are_refused(tmp_path, cut_at):
    path = tmp_path / "completions.jsonl"
    path.write_text(json.dumps({"prompt": "q", "completions": ["a", "b"], "cut_at": cut_at}) + "\n")
    with pytest.raises(UserError, match="row 1: cut_at is not a number of tokens or null for each"):
        read_completions(path)


@pytest.mark.parametrize("name", ["cut_at", "answer_cut_at"])
@pytest.mark.parametrize("cut_at", ["64", -1, 6.4, True])
def test_a_cut_of_an_answer_that_is_not_a_number_is_refused(tmp_path, name, cut_at):
    from boresight.evaluation.systems import read_answers

    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"prompt": "q", "answer": "a", name: cut_at}) + "\n")
    with pytest.raises(UserError, match=f"row 1: `{name}` is not a number of tokens"):
        read_answers(path)
