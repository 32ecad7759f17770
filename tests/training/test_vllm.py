"""Rollouts through a server: what is asked of it, what is believed of its answers, and what is refused."""

import gc
import json
import math
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from rich.console import Console

from boresight.config.recipe import Recipe, RolloutSection
from boresight.core.errors import UserError
from boresight.llm.vllm import VllmServer, parse_choice
from boresight.methods.inputs import GroupLogps
from boresight.methods.rloo import Config, loss
from boresight.models.packed.logprobs import completion_logprobs, completion_token_logprobs
from boresight.models.sampler.sample import SamplingParams
from boresight.runs.train import run_training
from boresight.training.rollouts.importance import ImportanceGate, weigh
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fake_vllm import BASE, FakeVllm
from tests.training.fixtures import random_rows
from tests.training.test_rollout import longer_is_better  # noqa: F401

QUIET = Console(quiet=True)
PROMPTS = [np.array([5, 6, 7], np.int32), np.array([80, 81], np.int32), np.array([9] * 8, np.int32)]
PARAMS = SamplingParams(max_new_tokens=6, seed=1, stop_token_ids=(0, 2))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_model(initializer_range=0.2).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def server(base):
    with FakeVllm(base) as running:
        yield running


def recipe(base, server, tmp_path, method="rloo", **rollout):
    rows = [{"prompt": f"say {i}"} for i in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"backend": "vllm", "base_url": server.url, "k": 4, "max_new_tokens": 6, **rollout}
    return Recipe.parse(
        {
            "method": {"name": method},
            "model": {"name": str(base), "lora": {"r": 4, "dropout": 0.0, "targets": "all-linear"}},
            "data": {"train": str(tmp_path / "prompts.jsonl"), "eval_rows": 0},
            "optim": {"lr": 0.05, "warmup": 0.0},
            "rollout": settings,
            "reward": [{"function": f"{__name__}:longer_is_better"}],
            "train": {"batch": 4, "steps": 4},
            "evaluate": {"samples": 0, "rewarded": 0},
            "check": {"probes": 0},
        }
    )


def train_lines(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == "train"]


def test_weights_by_hand():
    """Gaps ln 2, -ln 2 cancel: w = 1. Gaps ln 2, ln 2 give 4, cut to 3. Ratios 2, 1/2, 2, 2: mean 13/8."""
    two = np.log(2.0)
    policy, sampler = (
        [np.array([-1.0, -2.0]), np.array([-1.0, -1.0])],
        [
            np.array([-1.0 - two, -2.0 + two]),
            np.array([-1.0 - two, -1.0 - two]),
        ],
    )
    found = weigh(policy, sampler, cap=3.0)
    assert found.weights.tolist() == pytest.approx([1.0, 3.0])
    assert found.numbers == pytest.approx(
        {
            "importance_mean": 2.0,
            "importance_clipped": 0.5,
            "importance_token_ratio": 13 / 8,
            "importance_token_gap": two,
        }
    )


def test_a_completions_gradient_is_multiplied_by_its_weight():
    """k = 2, rewards 1 and 0, beta 0: advantages ±1, L = -(w1 log p1 - w2 log p2) / 2."""
    policy = torch.tensor([[-3.0, -4.0]], requires_grad=True)
    fixed = policy.detach()
    weights = torch.tensor([[0.5, 2.0]])
    reward, cut = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2, dtype=torch.bool)
    x = GroupLogps(policy, fixed, fixed, reward, torch.ones(1, 2), cut, weights)
    out = loss(x, Config(beta=0.0))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-(0.5 * -3.0 - 2.0 * -4.0) / 2)
    assert policy.grad.tolist() == [[-0.25, 1.0]]


def test_weights_make_another_samplers_gradient_the_policys():
    """One action of two, reward 1 for the first, p = (1/2, 1/2): -dE[r]/dlogit = -1/4. From q = (4/5, 1/5):
    E_q[w dlog p (r1 - r2)] = E_p[dlog p r1] - 0 with w = p/q; without it 0.8 * 0.5 - 0.3 * 0.8 = 0.16."""
    logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    p = torch.stack([torch.nn.functional.logsigmoid(logit), torch.nn.functional.logsigmoid(-logit)]).flatten()
    q = torch.tensor([0.8, 0.2], dtype=torch.float64)

    def expected_gradient(chances, weights):
        total = torch.zeros(1, dtype=torch.float64)
        for a in (0, 1):
            for b in (0, 1):
                arms = torch.tensor([a, b])
                policy = p[arms][None]
                reward = (arms == 0).double()[None]
                x = GroupLogps(
                    policy, policy.detach(), policy.detach(), reward, torch.ones_like(reward),
                    torch.zeros_like(reward, dtype=torch.bool), weights[arms][None],
                )  # fmt: skip
                (grad,) = torch.autograd.grad(loss(x, Config(beta=0.0)).loss, logit, retain_graph=True)
                total += chances[a] * chances[b] * grad
        return total.item()

    half = torch.full((2,), 0.5, dtype=torch.float64)
    ones = torch.ones(2, dtype=torch.float64)
    assert expected_gradient(half, ones) == pytest.approx(-0.25)
    assert expected_gradient(q, half / q) == pytest.approx(-0.25)
    assert expected_gradient(q, ones) == pytest.approx(-0.16)


@pytest.mark.parametrize("arch", ["llama", "gemma2"])
def test_token_logprobs_sum_to_the_completions(arch):
    model, rows = tiny_model(arch), random_rows(5, 3)
    sums = completion_logprobs(model, rows, temperature=0.7).sums.detach()
    parts = completion_token_logprobs(model, rows, temperature=0.7)
    for row, group, expected in zip(rows, parts, sums, strict=True):
        assert [len(part) for part in group] == [c.scored for c in row.completions]
        torch.testing.assert_close(
            torch.stack([part.sum() for part in group]), expected, rtol=1e-5, atol=1e-5
        )


def test_what_is_asked(server):
    VllmServer(server.url + "/v1/").sample(BASE, PROMPTS, PARAMS, k=3)
    assert len(server.asked) == 3
    body = next(b for b in server.asked if b["prompt"] == PROMPTS[1].tolist())
    # The server has defaults of its own for all of these, so silence would be somebody else's choice.
    said = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "n": 3}
    assert said.items() <= body.items()
    assert body["return_token_ids"] is True and body["logprobs"] == 0
    assert body["stop_token_ids"] == [0, 2] and len({b["seed"] for b in server.asked}) == 3


def test_samples_come_back_in_order_with_their_stop_token(server):
    drawn = VllmServer(server.url).sample(BASE, PROMPTS, PARAMS, k=3)
    assert [[s.prompt_index for s in group] for group in drawn] == [[0] * 3, [1] * 3, [2] * 3]
    for s in (s for group in drawn for s in group):
        assert (s.finish == "stop") == (s.ids[-1] in (0, 2)) and s.ids.dtype == np.int32
        assert len(s.ids) == len(s.logps)
    again = VllmServer(server.url).sample(BASE, PROMPTS, PARAMS, k=3)
    assert [s.ids.tolist() for g in drawn for s in g] == [s.ids.tolist() for g in again for s in g]


def test_the_gate_sees_the_same_model_as_the_same(server, base):
    """The server's log-probabilities of its own samples are the trainer's, so every weight is 1."""
    from boresight.models.load import load_model

    drawn = VllmServer(server.url).sample(BASE, PROMPTS, PARAMS, k=3)
    gate = ImportanceGate(load_model(str(base)), RolloutSection(), tokens_per_forward=20)
    groups, numbers = gate(PROMPTS, drawn)
    assert [c.importance for group in groups for c in group] == pytest.approx([1.0] * 9, abs=1e-4)
    assert numbers["importance_token_gap"] < 1e-5 and numbers["importance_clipped"] < 1


def test_rloo_trains_on_a_server_that_follows(server, base, tmp_path):
    """Adapters arrive before every rollout: the gap stays nil while the policy moves away from its base."""
    run_training(recipe(base, server, tmp_path), tmp_path / "run", QUIET)
    lines = train_lines(tmp_path / "run")
    assert len(server.loaded) == 4 and server.unloaded == server.loaded[:-1]
    assert {body["model"] for body in server.asked} == set(server.loaded)
    assert all(line["importance_token_gap"] < 1e-3 for line in lines)
    assert all(line["importance_mean"] == pytest.approx(1, abs=0.01) for line in lines)
    assert abs(lines[-1]["kl"]) > 0.01  # it has moved, so a server that had not followed would be seen


def test_a_server_that_keeps_old_weights_is_found_out(server, base, tmp_path):
    """Planted fault: adapters are taken and not used. The first rollout is the base's either way."""
    server.deaf = True
    with pytest.raises(UserError, match="nats per token away from the policy's"):
        run_training(recipe(base, server, tmp_path, importance_bound=0.02), tmp_path / "run", QUIET)
    assert train_lines(tmp_path / "run")[0]["importance_token_gap"] < 1e-3


def test_log_probabilities_of_another_temperature_are_found_out(server, base, tmp_path):
    server.raw_logprobs = True
    with pytest.raises(UserError, match="--logprobs-mode processed_logprobs"):
        run_training(recipe(base, server, tmp_path, temperature=0.5), tmp_path / "run", QUIET)


def test_xpo_draws_the_reference_from_the_base(server, base, tmp_path):
    run_training(recipe(base, server, tmp_path, method="xpo"), tmp_path / "run", QUIET)
    asked = [body["model"] for body in server.asked]
    assert asked.count(BASE) == len(asked) / 2
    assert "importance_token_gap" in train_lines(tmp_path / "run")[0]


def test_a_failing_server_is_asked_again_and_then_given_up(server):
    ours = VllmServer(server.url, pause=0.0)
    server.failures = 2
    assert len(ours.sample(BASE, PROMPTS[:1], PARAMS, k=1)) == 1
    assert len(server.asked) == 3
    server.failures = 99
    with pytest.raises(UserError, match=r"answered 500 .*the engine has died"):
        ours.sample(BASE, PROMPTS[:1], PARAMS, k=1)


def test_nobody_there():
    with pytest.raises(UserError, match=r"cannot be reached .*start `vllm serve` there"):
        VllmServer("http://127.0.0.1:9", pause=0.0).base_model()
    with pytest.raises(UserError, match="does not begin with http"):
        VllmServer("127.0.0.1:8000")


@pytest.mark.parametrize(
    ("ids", "logps", "why"),
    [
        ([1.5, 2], [-1.0, -1.0], "token_ids are not all ids"),  # int32 would make it 1
        (["7", 2], [-1.0, -1.0], "token_ids are not all ids"),
        ([True, 2], [-1.0, -1.0], "token_ids are not all ids"),
        ([2**31, 2], [-1.0, -1.0], "token_ids are not all ids"),
        ([-1, 2], [-1.0, -1.0], "token_ids are not all ids"),
        ([1, 2], [-1.0, math.nan], "not all finite numbers up to 0"),
        ([1, 2], [-math.inf, -1.0], "not all finite numbers up to 0"),
        ([1, 2], [-1.0, 0.5], "not all finite numbers up to 0"),
        ([1, 2], ["-1", -1.0], "not all finite numbers up to 0"),
    ],
)
def test_what_is_no_token_or_no_log_probability_is_refused(ids, logps, why):
    choice = {"token_ids": ids, "logprobs": {"token_logprobs": logps}, "finish_reason": "length"}
    with pytest.raises(UserError, match=f"^rollout.base_url: .*{why}"):
        parse_choice(choice, 0, PARAMS)


def test_a_completion_that_the_server_aborted_is_no_truncated_one():
    choice = {"token_ids": [1, 3], "logprobs": {"token_logprobs": [-1.0, -1.0]}, "finish_reason": "abort"}
    with pytest.raises(UserError, match="broke a completion off \\(finish_reason abort\\)"):
        parse_choice(choice, 0, PARAMS)


def test_answers_that_cannot_be_used_are_refused(server):
    ours = VllmServer(server.url, pause=0.0)
    server.stop_ids = tuple(range(320))
    with pytest.raises(UserError, match=r"stopped at token .* which ends no turn here"):
        ours.sample(BASE, PROMPTS, PARAMS, k=2)
    server.without_ids = True
    with pytest.raises(UserError, match="lacks token_ids"):
        ours.sample(BASE, PROMPTS, PARAMS, k=2)
    with pytest.raises(UserError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        ours.load_adapter("mine", server.folder / "nowhere")


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(base, tmp_path, monkeypatch):
    with FakeVllm(base, key="s3cret") as server:
        with pytest.raises(UserError, match="refuses access; set the variable"):
            run_training(recipe(base, server, tmp_path), tmp_path / "refused", QUIET)
        monkeypatch.setenv("VLLM_API_KEY", "s3cret")
        run_training(recipe(base, server, tmp_path), tmp_path / "run", QUIET)
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes()


def test_adapters_go_where_the_server_sees_them_and_leave_with_the_run(server, base, tmp_path, monkeypatch):
    shared, temporary = tmp_path / "shared", tmp_path / "temporary"
    for folder in (shared, temporary):
        folder.mkdir()
    (shared / "boresight-of-another-run-1").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for where in ({"shared_folder": str(shared)}, {}):
        run_training(recipe(base, server, tmp_path, **where), tmp_path / f"run{len(where)}", QUIET)
    gc.collect()
    assert len(server.loaded) == 8  # one for every rollout, read by the server from these folders
    assert [path.name for path in shared.iterdir()] == ["boresight-of-another-run-1"]
    assert list(temporary.iterdir()) == []


def test_options_that_cannot_act(server, base, tmp_path):
    with pytest.raises(UserError, match=r"rollout\.backend: vllm and rollout\.base_url go together"):
        recipe(base, server, tmp_path, backend="local")
    with pytest.raises(UserError, match=r"go together"):
        recipe(base, server, tmp_path, base_url=None)
    whole = recipe(base, server, tmp_path)
    whole = whole.model_copy(update={"model": whole.model.model_copy(update={"lora": None})})
    with pytest.raises(UserError, match=r"vllm takes adapters; set model\.lora"):
        run_training(whole, tmp_path / "run", QUIET)


class Redirecting(BaseHTTPRequestHandler):
    """Sends every request to the server `target`, and notes the headers of those that arrive there."""

    target, seen = "", []

    def do_GET(self):
        self.seen.append(dict(self.headers))
        self.send_response(302 if self.path.startswith("/v1") and self.target else 200)
        self.send_header("Location", f"{self.target}/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_key_does_not_follow_a_redirect():
    other_host = type("OtherHost", (Redirecting,), {"seen": []})
    with serving(other_host) as target:
        server = type("Server", (Redirecting,), {"target": target, "seen": []})
        with serving(server) as url, pytest.raises(UserError, match="answered 302"):
            VllmServer(url, "sk-planted").base_model()
    assert "Bearer sk-planted" in server.seen[0].values()
    assert other_host.seen == []


LONG_KEY = "sk-planted-0123456789abcdef"
BODIES = {
    "quoted": (400, b"x" * 285 + LONG_KEY.encode(), r"answered 400 .*key removed|answered 400"),
    "no json": (200, b"<html>", "cannot be reached|does not answer as vLLM does"),
    "list": (200, b"[1]", "does not answer as vLLM does"),
    "no models": (200, b'{"data": []}', "does not answer as vLLM does"),
    "number": (200, b'{"data": 7}', "does not answer as vLLM does"),
    "deep": (200, b"[" * 100_000, "cannot be reached"),
    "large": (200, b"x" * 2000, "sent more than 1,000 bytes"),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_is_no_vllm_is_one_sentence_without_the_key(case, monkeypatch):
    status, body, said = BODIES[case]
    monkeypatch.setattr("boresight.llm.vllm.MOST_BYTES", 1_000 if case == "large" else 2**20)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with serving(Server) as url, pytest.raises(UserError, match=said) as raised:
        VllmServer(url, LONG_KEY, pause=0.0).base_model()
    assert LONG_KEY[:8] not in str(raised.value)


@contextmanager
def serving(handler):
    """The address of a server on loopback with this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
