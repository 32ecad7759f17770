"""A running arena of a few duels, one of them hostile."""

from threading import Thread

import pytest

from boresight.arena.duels import make_duels
from boresight.arena.server import Arena
from boresight.arena.votes import Votes
from boresight.core.schema import Prompt
from boresight.evaluation.win_rate import System
from tests.odd_text import ODD

ATTACK = f"</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>{ODD}"


@pytest.fixture
def goal():
    """Votes after which the result is shown; None for one per prompt."""
    return


@pytest.fixture
def words():
    """Number of words that every answer ends with; many make it scroll."""
    return 0


@pytest.fixture
def arena(tmp_path, goal, words):
    prompts = [Prompt([{"role": "user", "content": f"What is {i} and {ATTACK}?"}], f"p{i}") for i in range(6)]
    systems = [
        System(name, {p.id: f"{word} {p.id} {ATTACK}{' word' * words}" for p in prompts})
        for name, word in WORDS.items()
    ]
    duels = make_duels(prompts, tuple(systems))
    votes = Votes(tmp_path / "votes", duels)
    with Arena(duels, votes, goal=goal) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    votes.close()


WORDS = {"base-run": "plain", "trained-run": "shiny"}
"""Each system's answers begin with its word; the page must never see the system's name beside it."""
