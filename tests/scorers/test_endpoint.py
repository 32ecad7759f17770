"""Judging through the ledger: every reply is bought once, and a failure says why."""

import pytest

from boresight.llm.client import Endpoint
from boresight.llm.ledger import Ledger
from boresight.llm.replies.failures import RequestFailure
from boresight.scorers.judges import llm, reward_endpoint
from boresight.scorers.judges.endpoint import LedgerCompleter
from tests.scorers.fakes import prompt


class FakeTransport:
    """A reward endpoint that counts what it is asked; answers of one letter are not to its taste."""

    base_url = "http://here/v1"

    def __init__(self):
        self.sent = 0

    async def send(self, request):
        self.sent += 1
        answer = request.messages[-1]["content"]
        if len(answer) == 1:
            raise RequestFailure("bad_request", "too short")
        message = {"role": "assistant", "content": f"reward:-{len(answer)}"}
        usage = {"prompt_tokens": 5, "completion_tokens": 5}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}

    async def close(self):
        pass


@pytest.fixture
def transport(monkeypatch):
    fake = FakeTransport()
    monkeypatch.setattr(LedgerCompleter, "_endpoint", lambda self: Endpoint(self.config.model, fake))
    return fake


def judge_with(ledger, **settings):
    config = reward_endpoint.Config(endpoint="http://here/v1", model="m", **settings)
    return reward_endpoint.build(config, LedgerCompleter(config, ledger))


def test_a_second_evaluation_asks_nothing_and_a_changed_answer_asks_for_itself(tmp_path, transport):
    asked, a, b = [prompt(i) for i in range(4)], ["aa", "aaa", "aa", "aaaa"], ["bbb"] * 4
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        first = judge_with(ledger).compare(asked, a, b)
        assert [j.preference for j in first] == [1.0, 0.5, 1.0, 0.0] and transport.sent == 8
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert judge_with(ledger).compare(asked, a, b) == first and transport.sent == 8
        judge_with(ledger).compare(asked, ["aaaaa", *a[1:]], b)
        assert transport.sent == 9
        judge_with(ledger).compare(asked[:1], a[:1], b[:1], repeat=1)
        assert transport.sent == 11, "asked anew, both answers are scored again"


def test_a_failure_and_a_spent_budget_are_missing_with_their_reason(tmp_path, transport):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        found = judge_with(ledger).compare([prompt(0), prompt(1)], ["aa", "a"], ["bbb", "bbb"])
        assert [j.preference for j in found] == [1.0, None]
        assert found[1].failure == "bad_request: too short"
        (none,) = judge_with(ledger, budget={"max_requests": 4}).compare([prompt(2)], ["aa"], ["bbb"])
        assert none.preference is None and none.failure.startswith("budget: budget.max_requests")


def test_another_judge_prompt_is_another_request(tmp_path):
    own = tmp_path / "prompt.txt"
    own.write_text("Which is better? {conversation} {first} {second} VERDICT:")
    keys = set()
    for path in (None, str(own)):
        config = llm.Config(endpoint="http://here/v1", model="m", prompt=path)
        judge = llm.build(config, None)
        keys.add(judge._request(judge._messages(prompt(0), "a", "b"), 0).key)
    assert len(keys) == 2
