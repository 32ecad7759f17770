"""The endpoint: loopback, a key, answers of the package's own sampler, and errors for all else."""

import http.client
import json
import socket
import struct
from threading import Thread

import pytest

from boresight.core.errors import UserError
from boresight.data.chat import encode_prompt
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.models.sampler.generate import generate
from boresight.models.sampler.params import SamplingParams
from boresight.serving.command import example, serve_here
from boresight.serving.endpoint import LONGEST_CONVERSATION, ChatServer
from tests.tiny import tiny_model, tiny_tokenizer

TURNS = [{"role": "user", "content": "red green?"}]


@pytest.fixture(scope="module")
def endpoint():
    tokenizer, model = tiny_tokenizer(), tiny_model()
    wire_stop_tokens(model, tokenizer)
    with ChatServer(model, tokenizer, "mine", max_new_tokens=5) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, key=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    given = {"Authorization": f"Bearer {server.token if key is None else key}", **headers}
    connection.request(method, path, None if body is None else json.dumps(body), given)
    response = connection.getresponse()
    found = json.loads(response.read())
    connection.close()
    return response.status, found


def complete(server, **body):
    return ask(server, "POST", "/v1/chat/completions", {"messages": TURNS} | body)


def test_it_answers_what_the_sampler_answers(endpoint):
    status, found = complete(endpoint, model="mine", max_tokens=4, temperature=0.7, seed=3)
    params = SamplingParams(max_new_tokens=4, temperature=0.7, seed=3)
    ((expected,),) = generate(endpoint.model, endpoint.tokenizer, [TURNS], params)
    assert status == 200 and found["choices"][0]["message"] == {"role": "assistant", "content": expected.text}
    assert found["choices"][0]["finish_reason"] == expected.finish
    prompt = len(encode_prompt(endpoint.tokenizer, TURNS))
    assert found["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": len(expected.ids),
        "total_tokens": prompt + len(expected.ids),
    }
    assert found["object"] == "chat.completion" and found["model"] == "mine"
    assert complete(endpoint, temperature=0)[1]["usage"]["completion_tokens"] <= 5
    assert ask(endpoint, "GET", "/v1/models")[1]["data"][0]["id"] == "mine"


def test_without_a_seed_every_answer_is_sampled_anew(endpoint):
    """Sixteen answers of five tokens; with a seed all are alike."""
    found = {complete(endpoint)[1]["choices"][0]["message"]["content"] for _ in range(16)}
    assert len(found) > 1
    seeded = {complete(endpoint, seed=0)[1]["choices"][0]["message"]["content"] for _ in range(4)}
    assert len(seeded) == 1


def test_null_is_a_field_that_is_not_given(endpoint):
    """As clients write it that list every field; also fields that are not served."""
    given = ("model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "n", "stream")
    nulls = dict.fromkeys([*given, "user", "stop", "tools", "response_format"])
    turn = {**TURNS[0], "name": None}
    assert complete(endpoint, messages=[turn], **nulls)[0] == 200


def test_it_needs_the_key_and_answers_to_loopback_alone(endpoint):
    assert endpoint.server_address[0] == "127.0.0.1"
    for key in ("", "wrong", f"{endpoint.token}x"):
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/nothing")):
            status, found = ask(endpoint, method, path, {"messages": TURNS}, key)
            assert status == 403 and "API key" in found["error"]["message"]
    assert ask(endpoint, "GET", "/v1/models", Host="evil.example")[0] == 403
    assert ask(endpoint, "GET", "/v1/nothing")[0] == 404
    assert endpoint.token in example(endpoint) and endpoint.token not in endpoint.address
    assert '"temperature": 0}' in example(endpoint)


def test_what_is_not_served_is_an_error_in_openais_form(endpoint):
    for body, status, reason in (
        ({"model": "gpt-4"}, 404, "The model here is called 'mine'"),
        ({"stream": True}, 400, "stream: streaming is not supported; leave it out or set it to false."),
        ({"n": 2}, 400, "n: a request gets one answer; leave it out or set it to 1."),
        ({"tools": []}, 400, "tools: this field is not supported; leave it out."),
        ({"temperature": float("inf")}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content: this field is missing."),
        (
            {"messages": [{"role": "user", "content": None}]},
            400,
            "messages.0.content: this field is missing.",
        ),
        ({"messages": None}, 400, "messages: this field is missing."),
        (
            {"messages": [{"role": "user", "content": "a\ud800b"}]},
            400,
            "messages.0.content: half a surrogate pair is no text.",
        ),
        ({"messages": [{"role": "user", "content": "x" * LONGEST_CONVERSATION}]}, 400, "too long"),
    ):
        found = complete(endpoint, **body)
        assert found[0] == status and reason in found[1]["error"]["message"], found
        assert found[1]["error"]["type"] == "invalid_request_error"
    assert complete(endpoint)[0] == 200  # and goes on


def test_a_refusal_arrives_although_its_body_is_not_read(endpoint):
    """More bytes than any socket buffer holds: the client is still sending when the refusal is written."""
    body = {"messages": [{"role": "user", "content": "x" * 16_000_000}]}
    status, found = ask(endpoint, "POST", "/v1/chat/completions", body)
    assert status == 400 and "too long" in found["error"]["message"]
    status, found = ask(endpoint, "POST", "/v1/chat/completions", body, key="wrong")
    assert status == 403 and "API key" in found["error"]["message"]
    assert complete(endpoint)[0] == 200


def test_a_client_that_goes_away_prints_nothing(endpoint, capfd):
    with socket.create_connection(("127.0.0.1", endpoint.server_port)) as gone:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset
        gone.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 9\r\n")
    assert complete(endpoint)[0] == 200
    try:
        raise BrokenPipeError
    except BrokenPipeError:
        endpoint.handle_error(None, None)
    assert capfd.readouterr().err == ""


def test_no_server_for_a_reward_model_or_a_taken_port(endpoint, tmp_path):
    from rich.console import Console

    (tmp_path / "adapter_config.json").write_text('{"task_type": "SEQ_CLS"}')
    with pytest.raises(UserError, match="a reward model gives scores"):
        serve_here(tmp_path, 0, 8, None, Console(quiet=True))
    for port in (endpoint.server_port, 70000):
        with pytest.raises(UserError, match=f"--port: {port} cannot be used"):
            serve_here(tmp_path, port, 8, None, Console(quiet=True))
