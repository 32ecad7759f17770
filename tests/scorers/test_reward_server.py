"""A reward model behind a server: what vLLM and SGLang return is read, and nothing else becomes a number."""

import pytest

from boresight.core.errors import UserError
from boresight.llm.client import Client
from boresight.llm.ledger import Ledger
from boresight.llm.replies.failures import Stopped
from boresight.llm.replies.reply import Reply
from boresight.models.load import load_tokenizer
from boresight.scorers.judge_reward import judge_reward
from boresight.scorers.judges import reward_server
from boresight.scorers.open_judge import open_judge
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import KEY, KEY_ENV
from tests.scorers.fakes import FakeEndpoint, prompt
from tests.tiny import tiny_tokenizer

GOOD, BAD = "a good answer", "bad"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A key, and no pauses between attempts."""
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.setattr(Client, "_pause", lambda *_: 0.0)


def answer_of(body):
    return body["messages"][-1]["content"]


def classified(*probs, **changes):
    result = {"index": 0, "label": "LABEL_0", "probs": list(probs), "num_classes": len(probs)} | changes
    usage = {"prompt_tokens": 12, "total_tokens": 12, "completion_tokens": 0}
    return 200, {"id": "classify-1", "object": "list", "data": [result], "usage": usage}


def by_length(body):
    return classified(float(len(answer_of(body))))


@pytest.fixture
def score(tmp_path):
    """Scores of answers by a server that returns `outputs`."""

    def run(at, answers=(GOOD,), **settings):
        config = config_of(at, **settings)
        with open_judge(config, tmp_path / "ledger.sqlite") as judge:
            return judge.score([prompt(i) for i in range(len(answers))], answers)

    return run


def config_of(at, **settings):
    return reward_server.Config(**{"endpoint": at.url, "model": "rm", "key_env": KEY_ENV, **settings})


# What servers return --------------------------------------------------------------------------------------


def test_vllm_is_sent_the_conversation_and_asked_for_plain_outputs(score):
    with FakeServer(outputs=by_length, key=KEY) as server:
        assert [s.value for s in score(server, (GOOD, BAD))] == [13.0, 3.0]
    path, body = server.asked[0]
    assert path == "/classify" and body["model"] == "rm" and body["use_activation"] is False
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]
    assert not body.keys() & {"max_tokens", "route"}


@pytest.mark.parametrize("data", [[-1.5], [[7.0], [3.0], [-1.5]]], ids=["one vector", "one per token"])
def test_pooling_returns_a_vector_or_one_per_token_of_which_the_last_counts(score, data):
    def pooled(body):
        return 200, {"object": "list", "data": [{"index": 0, "object": "pooling", "data": data}]}

    with FakeServer(outputs=pooled) as server:
        assert score(server, route="pooling")[0].value == -1.5
    assert server.asked[0][0] == "/pooling"


@pytest.fixture
def tokenizer(tmp_path):
    folder = tmp_path / "tokenizer"
    tiny_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return str(folder)


def test_sglang_is_sent_the_tokens_of_the_rendered_conversation(score, tokenizer):
    payload = {"embedding": [0.25], "meta_info": {"prompt_tokens": 9}}
    with FakeServer(outputs=lambda body: (200, payload)) as sg:
        assert score(sg, server="sglang", tokenizer=tokenizer)[0].value == 0.25
    path, body = sg.asked[0]
    turns = [*prompt(0).prompt, {"role": "assistant", "content": GOOD}]
    rendered = load_tokenizer(tokenizer).apply_chat_template(turns, tokenize=True, return_dict=True)
    assert path == "/classify" and body == {"model": "rm", "input_ids": rendered["input_ids"]}


def test_vllm_takes_tokens_that_were_rendered_here_too(score, tokenizer):
    with FakeServer(outputs=lambda body: classified(1.0)) as server:
        score(server, tokenizer=tokenizer)
    assert "messages" not in server.asked[0][1] and server.asked[0][1]["input"]


def test_scores_are_bought_once_and_compare(tmp_path):
    with FakeServer(outputs=by_length) as server:
        for _ in range(2):
            with open_judge(config_of(server), tmp_path / "ledger.sqlite") as judge:
                (found,) = judge.compare([prompt(0)], [GOOD], [BAD])
                assert found.preference == 1.0 and found.scores == (13.0, 3.0)
        assert len(server.asked) == 2


def test_it_is_a_reward_of_training_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeServer(outputs=by_length) as server:
        section = {"name": "reward_server", "endpoint": server.url, "model": "rm", "key_env": KEY_ENV}
        assert [s.value for s in judge_reward(section).score([prompt(0)], [GOOD])] == [13.0]


# Several outputs ------------------------------------------------------------------------------------------

LABELS = ["helpfulness", "correctness", "verbosity"]


def test_several_outputs_are_weighted_by_label(score):
    weights = {"verbosity": -0.5, "helpfulness": 2.0}
    with FakeServer(outputs=lambda body: classified(1.5, 9.0, 4.0)) as server:
        (found,) = score(server, labels=LABELS, weights=weights)
    assert found.value == 1.0 and found.reasoning == "helpfulness 1.5, correctness 9, verbosity 4"


def test_other_weights_ask_nothing_again(score):
    with FakeServer(outputs=lambda body: classified(1.5, 9.0, 4.0)) as server:
        for name, value in zip(LABELS, (1.5, 9.0, 4.0), strict=True):
            assert score(server, labels=LABELS, weights={name: 1})[0].value == value
        assert len(server.asked) == 1


@pytest.mark.parametrize("probs", [(0.5, 0.5), (1.0, 2.0, 3.0, 4.0)])
def test_more_or_fewer_outputs_than_labels_are_no_score(score, probs):
    with FakeServer(outputs=lambda body: classified(*probs)) as server:
        (found,) = score(server, labels=LABELS, weights={"helpfulness": 1})
    assert found.value is None and f"the model has {len(probs)} outputs and 3 expected" in found.failure


def test_several_outputs_without_weights_are_no_score_and_stop_early(score):
    with FakeServer(outputs=lambda body: classified(0.5, 0.5)) as server:
        (found,) = score(server)
        assert found.value is None and "the model has 2 outputs and 1 expected" in found.failure
        with pytest.raises(Stopped, match=r"name each in judge\.labels"):
            score(server, [f"answer {i}" for i in range(40)])
        assert len(server.asked) < 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": LABELS}, "the model has 3 outputs (helpfulness, correctness, verbosity)"),
        ({"weights": {"helpfulness": 1}}, "no output 'helpfulness'; name the outputs in judge.labels"),
        ({"labels": LABELS, "weights": {"helpfullness": 1}}, "did you mean 'helpfulness'"),
        ({"labels": LABELS, "weights": {"helpfulness": 0}}, "all are 0"),
        ({"labels": LABELS, "weights": {"helpfulness": float("nan")}}, "input should be a finite number"),
        ({"labels": ["a", "a"], "weights": {"a": 1}}, "two outputs are called 'a'"),
        ({"server": "sglang"}, "give a tokenizer"),
        ({"server": "sglang", "tokenizer": "t", "route": "pooling"}, "leave route out"),
    ],
)
def test_settings_that_make_no_score_are_refused_before_anything_is_asked(settings, message):
    section = {"name": "reward_server", "endpoint": "http://127.0.0.1:1/v1", "model": "rm", **settings}
    with pytest.raises(UserError) as refused:
        judge_reward(section)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not str(refused.value).endswith("..")


# Hostile servers ------------------------------------------------------------------------------------------

HUGE = b'{"data": [{"probs": [' + b"1.0, " * 2**22 + b"1.0]}]}"

HOSTILE = {
    "no result": ((200, {"data": []}), "0 results were returned for one conversation"),
    "two results": ((200, {"data": [{"probs": [1.0]}] * 2}), "2 results were returned for one conversation"),
    "NaN": (classified(float("nan")), "an output is 'nan', not a finite number"),
    "infinity": (classified(float("-inf")), "an output is '-inf', not a finite number"),
    "text": (classified("0.5"), "an output is '0.5', not a finite number"),
    "truth": (classified(True), "an output is 'True', not a finite number"),
    "nothing": (classified(None), "an output is 'None', not a finite number"),
    "a large number": (classified(10**400), "not a finite number"),
    "no list": ((200, {"data": [{"probs": 0.5}]}), "the result has no list of numbers"),
    "base64": ((200, {"data": [{"data": "AACAPw=="}]}), "the result has no list of numbers"),
    "no object": ((200, {"data": [3]}), "the result has no list of numbers"),
    "empty": (classified(), "0 numbers were returned, where a reward model has 1 to 64"),
    "an embedding": (classified(*[0.1] * 4096), "4,096 numbers were returned"),
    "ragged": ((200, {"data": [{"data": [[1.0], 2.0]}]}), "an output is '[1.0]', not a finite number"),
    "wrong count": (classified(0.5, num_classes=3), "1 numbers were returned for num_classes 3"),
    "a chat": ((200, {"choices": [{"message": {"content": "0.5"}}]}), "the result has no list of numbers"),
    "a list": ((200, [0.5]), "no JSON object"),
    "HTML": ((200, b"<html>Bad gateway</html>"), "no JSON"),
    "no UTF-8": ((200, b"\xff\xfe"), "not UTF-8"),
    "too deep": ((200, b'{"data":' * 900 + b"1" + b"}" * 900), "nested deeper"),
    "huge": ((200, HUGE), "more than 16 MB"),
    "an error": ((200, {"object": "error", "message": "out of memory", "code": 500}), "out of memory"),
    "500": ((500, {"error": {"message": "out of memory"}}), "out of memory"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_output_is_a_failure_with_a_reason(score, name):
    reply, reason = HOSTILE[name]
    with FakeServer(outputs=lambda body: reply if answer_of(body) == BAD else classified(1.0)) as server:
        good, bad = score(server, (GOOD, BAD))
    assert good.value == 1.0 and bad.value is None
    assert reason in bad.failure and "\n" not in bad.failure and len(bad.failure) < 600


def test_a_server_that_is_not_there_or_has_no_such_path_is_one_sentence(score):
    with FakeServer() as server:  # 404 for all but chat
        with pytest.raises(Stopped, match="does not take the request") as refused:
            score(server)
        assert "\n" not in str(refused.value)
    (found,) = score(server)
    assert found.value is None and found.failure.startswith("server: no connection")


def test_a_wrong_key_is_refused_and_appears_nowhere(score, monkeypatch):
    monkeypatch.setenv(KEY_ENV, "sk-another-one-98765")
    server = FakeServer(outputs=by_length, key=KEY)
    with server, pytest.raises(Stopped, match="refuses access") as refused:
        score(server)
    assert "98765" not in str(refused.value)


def test_a_spent_budget_is_missing_and_not_zero(score):
    with FakeServer(outputs=by_length) as server:
        found = score(server, (GOOD, BAD), budget={"max_requests": 1})
    values = [s.value for s in found]
    assert values.count(None) == 1 and any("budget" in s.failure for s in found)


def test_usage_that_is_missing_or_absurd_is_estimated(tmp_path, score):
    def unreported(body):
        status, payload = by_length(body)
        return status, payload | {"usage": {"prompt_tokens": -5}}

    with FakeServer(outputs=unreported) as server:
        assert score(server)[0].value == 13.0
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent().tokens > 0 and ledger.estimates()


@pytest.mark.parametrize("text", ["reward:1.0", "{}", '["1"]', ""])
def test_a_reply_of_another_kind_is_no_score(text):
    config = reward_server.Config(endpoint="http://here/v1", model="rm")
    judge = reward_server.build(config, FakeEndpoint(lambda request: Reply(text)))
    (found,) = judge.score([prompt(0)], [GOOD])
    assert found.value is None and found.failure.startswith("not the outputs of a reward model")
