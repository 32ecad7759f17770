"""The arena's server: loopback, token, one vote a prompt, and no word of who stands where."""

import http.client
import json

import pytest

from boresight.arena.server import LONGEST_BODY
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


def test_a_vote_counts_once_and_says_how_it_stands(arena):
    duel = arena.by_id["p3"]
    side = "left" if duel.left[0] == "trained-run" else "right"
    status, found = vote(arena, "p3", side)
    assert (status, found["votes"], found["total"]) == (200, 1, 6)
    assert found["says"].startswith("trained-run wins 100.0 % [") and found["says"].endswith(
        "base-run in 1 vote."
    )
    assert vote(arena, "p3", "left" if side == "right" else "right")[1] == found
    (line,) = read_jsonl(arena.votes.folder / "preferences.jsonl")
    assert line["chosen"][0]["content"].startswith("shiny p3")
    assert '"id":"p3"' not in ask(arena, "GET", f"/?token={arena.token}")[1]


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
