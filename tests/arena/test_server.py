"""The arena's server: loopback, token, one vote per prompt, and no result before the last one."""

import http.client
import json
import re

import pytest

from boresight.arena.command import closing_sentence
from boresight.arena.result import judged_prompts
from boresight.arena.server import LONGEST_BODY, Arena
from boresight.core.errors import UserError
from boresight.core.files import read_jsonl
from tests.arena.conftest import WORDS


def ask(arena, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", arena.server_port, timeout=10)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def vote(arena, id, choice, token=None):
    headers = {"X-Token": arena.token if token is None else token}
    response, text = ask(arena, "POST", "/vote", json.dumps({"id": id, "choice": choice}), **headers)
    return response.status, json.loads(text)


def test_the_page_needs_the_token(arena):
    response, html = ask(arena, "GET", f"/?token={arena.token}")
    assert response.status == 200 and "Which answer is better?" in html
    assert (
        response.headers["Referrer-Policy"] == "no-referrer"
        and response.headers["Cache-Control"] == "no-store"
    )
    for path in ("/", "/?token=", "/?token=wrong", f"/?token={arena.token}x"):
        response, text = ask(arena, "GET", path)
        assert response.status == 403 and "token" in json.loads(text)["error"]
    assert vote(arena, "p0", "left", token="wrong")[0] == 403 and len(arena.votes) == 0


def test_it_listens_on_loopback_and_answers_to_no_other_name(arena):
    assert arena.server_address[0] == "127.0.0.1"
    response, _ = ask(arena, "GET", f"/?token={arena.token}", Host="evil.example")
    assert response.status == 403


def test_the_page_does_not_know_who_stands_where(arena):
    _, html = ask(arena, "GET", f"/?token={arena.token}")
    assert all(word in html for word in WORDS.values())
    assert not any(name in html for name in WORDS), "no name before the first vote, and none beside an answer"
    assert "<script>window" not in html and "<img src=x" not in html


def post(arena, path, **body):
    response, text = ask(arena, "POST", path, json.dumps(body), **{"X-Token": arena.token})
    return response.status, json.loads(text)


def side_of(arena, id, system):
    return "left" if arena.by_id[id].left[0] == system else "right"


@pytest.mark.parametrize("goal", [3])
def test_nobody_sees_who_leads_before_the_last_vote(arena):
    """Two votes for trained-run and one for base-run: 2 of 3, and nothing changes once it was shown."""
    for id, system in (("p0", "trained-run"), ("p1", "base-run")):
        side = side_of(arena, id, system)
        assert vote(arena, id, side) == (200, {"votes": int(id[1]) + 1, "total": 3})
    status, found = post(arena, "/reveal")
    assert status == 409 and found["error"] == "The result is shown after 3 votes."
    _, html = ask(arena, "GET", f"/?token={arena.token}")
    assert "wins" not in html and not any(name in html for name in WORDS)
    vote(arena, "p2", side_of(arena, "p2", "trained-run"))
    assert vote(arena, "p3", "left")[0] == 409 and len(arena.votes) == 3
    assert post(arena, "/reveal")[0] == 200
    _, html = ask(arena, "GET", f"/?token={arena.token}")
    (headline,) = re.findall('<h1 class="verdict-line">(.*?)</h1>', html)
    text = re.sub("<.*?>", "", headline).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("trained-run wins 66.7 % [")
    assert html.count(">chosen</span>") == 3 and "<script>window" not in html and "<img src=x" not in html
    assert f"data.train={arena.votes.folder}/preferences.jsonl" in html
    assert post(arena, "/undo", id="p2")[0] == 409 and len(arena.votes) == 3


def test_a_tie_is_shown_as_one(arena):
    vote(arena, "p1", "tie")
    (judged,) = judged_prompts(arena.duels, arena.votes)
    assert judged.verdict == "tie" and [a.won for a in judged.answers] == [False, False]
    assert [a.system for a in judged.answers] == list(WORDS)
    assert [a.text.split()[0] for a in judged.answers] == list(WORDS.values())


@pytest.mark.parametrize("wrong", [0, -1, 7])
def test_a_number_of_votes_that_cannot_be_reached(arena, wrong):
    with pytest.raises(UserError, match=f"--votes: {wrong} is not between 1 and 6, the prompts to vote on"):
        Arena(arena.duels, arena.votes, goal=wrong)


def test_what_the_terminal_prints_at_the_end(arena):
    assert closing_sentence(arena).startswith("0 of 6 votes. Run the same command to continue")
    for id in arena.by_id:
        vote(arena, id, side_of(arena, id, "trained-run"))
    assert re.fullmatch(
        r"trained-run wins 100\.0 % \[.*\] against base-run in 6 votes\.", closing_sentence(arena)
    )


def test_the_terminal_shows_the_result_once_when_the_page_does(arena):
    arena.show = (shown := []).append
    for id in arena.by_id:
        vote(arena, id, side_of(arena, id, "trained-run"))
    assert not shown
    assert [post(arena, "/reveal")[0] for _ in range(2)] == [200, 200]
    assert shown == [closing_sentence(arena)]


def test_an_even_standing_is_called_not_significant(arena):
    for id, system in zip(arena.by_id, [*WORDS] * 3, strict=True):
        vote(arena, id, side_of(arena, id, system))
    assert closing_sentence(arena).endswith("against base-run in 6 votes: not significant.")


def test_a_vote_counts_once(arena):
    """The same vote again, as after a lost reply, changes nothing; another one on the prompt is refused."""
    side = side_of(arena, "p3", "trained-run")
    found = (200, {"votes": 1, "total": 6})
    assert vote(arena, "p3", side) == vote(arena, "p3", side) == found
    for choice in {"left", "right", "tie"} - {side}:
        status, refused = vote(arena, "p3", choice)
        assert (status, refused["error"]) == (409, "This prompt has a vote already; reload the page.")
    (line,) = read_jsonl(arena.votes.folder / "preferences.jsonl")
    assert line["chosen"][0]["content"].startswith("shiny p3")
    assert '"id":"p3"' not in ask(arena, "GET", f"/?token={arena.token}")[1]


def test_a_tie_is_a_vote_that_differs_from_others(arena):
    assert vote(arena, "p3", "tie")[0] == vote(arena, "p3", "tie")[0] == 200
    assert vote(arena, "p3", "left")[0] == 409 and arena.votes.ties == 1


def test_only_the_last_vote_is_taken_back_and_by_its_name(arena):
    """Another tab has voted in the meantime: its vote stays."""
    vote(arena, "p0", "left")
    vote(arena, "p1", "tie")
    for body in ({"id": "p0"}, {"id": "p9"}, {}):
        status, found = post(arena, "/undo", **body)
        assert status == 409 and found["error"] == (
            "Only the last vote can be taken back, and another one came after this; reload the page."
        )
    assert "p0" in arena.votes and "p1" in arena.votes
    assert post(arena, "/undo", id="p1") == (200, {"votes": 1, "total": 6})
    assert post(arena, "/undo", id="p0")[0] == 409 and "p0" in arena.votes


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/vote", {"id": "p9", "choice": "left"}, 400),
        ("/vote", {"id": "p1", "choice": "both"}, 400),
        ("/vote", ["p1"], 400),
        ("/vote", "x" * LONGEST_BODY, 400),
        ("/other", {}, 404),
    ],
)
def test_what_is_no_vote_is_refused(arena, path, body, status):
    response, text = ask(arena, "POST", path, json.dumps(body), **{"X-Token": arena.token})
    assert response.status == status and json.loads(text)["error"].endswith(".")
    assert len(arena.votes) == 0


def test_a_full_disk_is_told_and_the_vote_is_not_counted(arena, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("boresight.arena.votes._to_disk", full)
    status, found = vote(arena, "p1", "left")
    assert status == 500 and found["error"] == "The vote is not saved: No space left on device."
    monkeypatch.undo()
    assert len(arena.votes) == 0 and (arena.votes.folder / "preferences.jsonl").read_text() == ""
    assert vote(arena, "p1", "left")[0] == 200
