"""AdamW on split weights beside the library's own on float32 weights, and whole runs of both."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from boresight.checks.run.model import Wiring, half_precision_parameters
from boresight.config.recipe import OptimSection
from boresight.core.errors import UserError
from boresight.models.kernels import split_bits
from boresight.models.kernels.split_weights import by_bucket, is_split, master_weights, split_weights
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.training.activations import footprint_of
from boresight.training.checkpoints.checkpoint import load_state
from boresight.training.footprint.base import refuse_host_bits, splits_weights
from boresight.training.loop import run_steps
from boresight.training.optimizer import split_adamw
from boresight.training.optimizer.adamw import has_moved, make_optimizer
from boresight.training.optimizer.clipping import divide_and_clip
from boresight.training.policy import load_policy
from boresight.training.probes.kl import KLProbe
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task, random_rows
from tests.training.test_resume import Halt, halt_at, train_lines
from tests.versions import NEEDS_GRAD_DTYPE

SETTINGS = ("model.dtype=bfloat16", "train.batch=8", "train.steps=6", "train.save_every=2", "optim.lr=1e-3")

pytestmark = NEEDS_GRAD_DTYPE


def layers(seed=0):
    """An embedding of 6,000 weights, above a bucket of 1,200, and smaller layers; one is never used."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Embedding(300, 20),
            nn.LayerNorm(20),
            nn.Linear(20, 33),
            nn.Linear(33, 7, bias=False),
            nn.Linear(3, 5),
        )


def pair_of(optim, low_on_host=False):
    plain, split = layers(), layers()
    split_weights(split, bucket=1200, low_on_host=low_on_host)
    return (plain, make_optimizer(plain, optim)), (split, make_optimizer(split, optim))


def step(model, optimizer, lr, seed):
    """One update with random gradients, clipped; the last layer has none."""
    generator = torch.Generator().manual_seed(seed)
    used = list(model.parameters())[:-2]
    for p in used:
        scale = 10 ** float(torch.empty(()).uniform_(-6, 1, generator=generator))
        p.grad = torch.randn(p.shape, generator=generator) * scale
    divide_and_clip(used, 3.0, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    assert all(p.grad is not None for p in used)
    optimizer.zero_grad(set_to_none=True)


def assert_same(plain, split):
    (model, optimizer), (other, of_other) = plain, split
    with master_weights(other):
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(one.view(torch.int32), two.view(torch.int32))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        first, second = optimizer.state[one], of_other.state[two]
        assert first.keys() == second.keys()
        for name, value in first.items():
            same = torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]
            assert same, name


@pytest.mark.parametrize("low_on_host", [False, True], ids=["device", "host"])
@pytest.mark.parametrize("states", ["float32", "8bit"])
def test_bit_for_bit_over_forty_steps(states, low_on_host, monkeypatch):
    """The embedding's 6,000 weights in two pieces of 2,400 and one of 1,200, with float32 moments."""
    if states == "8bit":
        pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(split_bits, "CHUNK", 777)
    monkeypatch.setattr(split_adamw, "PIECE", 2400)
    optim = OptimSection(lr=1e-2, weight_decay=0.1, states=states, betas=(0.9, 0.99))
    plain, split = pair_of(optim, low_on_host)
    assert len(by_bucket(split[0].parameters())) == 3
    assert not has_moved(split[1])
    for number in range(40):
        for model, optimizer in (plain, split):
            step(model, optimizer, lr=10.0 ** -(number % 6), seed=number)
    assert_same(plain, split)
    assert has_moved(split[1])


def test_updates_that_bfloat16_would_lose_add_up():
    """200 steps of 1e-6 from 1. Below it bfloat16 numbers are 2^-8 apart, so the high half stays where it is;
    float32 numbers are 2^-24 apart, of which 1e-6 is 16.8, rounded to 17 in every step: 3,400 in all.
    """
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    split_weights(layer)
    optimizer = make_optimizer(layer, OptimSection(lr=1e-6))
    for _ in range(200):
        layer.weight.grad = torch.ones(1, 1)
        optimizer.step()
    assert layer.weight.item() == 1.0
    with master_weights(layer):
        assert layer.weight.item() == 1 - 3400 * 2**-24


def split_policy():
    policy = tiny_model()
    split_weights(policy)
    return policy


def losses(run):
    return [line["loss"] for line in train_lines(run)]


def saved(folder):
    return load_file(folder / "model.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["sft", "dpo", "rloo"])
def test_a_run_learns_what_a_run_under_autocast_learns(tmp_path, method):
    """The losses differ by rounding; the saved model is float32 like any other."""
    run_steps(make_task(tmp_path / "split", method, *SETTINGS, policy=split_policy()))
    run_steps(make_task(tmp_path / "plain", method, *SETTINGS))
    assert losses(tmp_path / "split") == pytest.approx(losses(tmp_path / "plain"), abs=2e-2)
    if method != "rloo":  # whose loss is no measure of what was learned
        assert losses(tmp_path / "split")[-1] < losses(tmp_path / "split")[0]
    one, other = saved(tmp_path / "split/model"), saved(tmp_path / "plain/model")
    assert one.keys() == other.keys()
    assert {weight.dtype for weight in one.values()} == {torch.float32}
    assert any((weight != weight.bfloat16().float()).any() for weight in one.values())
    for run in ("split", "plain"):
        assert json.loads((tmp_path / run / "model/config.json").read_text())["dtype"] == "float32"


def test_a_resumed_run_is_the_same_run(tmp_path):
    """Bit by bit, from a checkpoint of the layout that every run writes."""
    run_steps(make_task(tmp_path / "whole", "sft", *SETTINGS, policy=split_policy()))
    cut = halt_at(make_task(tmp_path / "cut", "sft", *SETTINGS, policy=split_policy()), step=3)
    with pytest.raises(Halt):
        run_steps(cut)
    newest = tmp_path / "cut/checkpoints/step-2"
    run_steps(make_task(tmp_path / "cut", "sft", *SETTINGS, policy=split_policy()), newest)
    assert equal(saved(tmp_path / "cut/model"), saved(tmp_path / "whole/model"))
    assert losses(tmp_path / "cut")[-4:] == losses(tmp_path / "whole")[-4:]
    plain, newest = make_task(tmp_path / "other", "sft", *SETTINGS), tmp_path / "cut/checkpoints/step-6"
    load_state(newest, plain.policy, make_optimizer(plain.policy, plain.recipe.optim))
    weights = saved(newest / "model")
    assert all(
        torch.equal(p, weights[name]) for name, p in plain.policy.named_parameters() if name in weights
    )


def test_they_are_no_half_precision_weights_to_the_preflight(tmp_path):
    task = make_task(tmp_path, "sft", *SETTINGS, policy=split_policy())
    assert half_precision_parameters(Wiring(task.policy, task.tokenizer, None, task.recipe)) is None
    plain = Wiring(tiny_model(dtype=torch.bfloat16), task.tokenizer, None, task.recipe)
    assert half_precision_parameters(plain) is not None


@pytest.mark.parametrize("split", [True, False])
def test_the_policy_of_a_recipe(tmp_path, split):
    """Weights are split on request, as `model.kernels: fast` requests on a GPU; the log line names it."""
    tiny_model().save_pretrained(tmp_path / "start")
    tiny_tokenizer().save_pretrained(tmp_path / "start")
    task = make_task(tmp_path / "run", "sft", *SETTINGS, f"model.name={tmp_path / 'start'}")
    policy, _ = load_policy(task.recipe, task.kind, tiny_tokenizer(), split=split)
    assert is_split(policy) == split
    assert footprint_of(task.recipe, policy).split == split
    with master_weights(policy):
        for one, other in zip(policy.parameters(), tiny_model().parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "dtype", "split"),
    [
        ("model.kernels=fast", "bfloat16", True),
        ("model.kernels=proven", "bfloat16", False),
        ("model.kernels=fast", "float16", False),
        ("model.kernels=fast model.lora={}", "bfloat16", False),
    ],
)
def test_which_runs_split_their_weights(tmp_path, settings, dtype, split):
    task = make_task(tmp_path, "sft", *settings.split())
    assert splits_weights(task.recipe, task.kind, dtype) == split


def test_low_bits_in_host_memory_are_refused_where_no_weights_are_split(tmp_path):
    task = make_task(tmp_path, "sft", "model.kernels=fast", "model.low_bits=host")
    refuse_host_bits(task.recipe, task.kind, "bfloat16")
    with pytest.raises(UserError, match="low_bits: host has no effect on weights that are not split"):
        refuse_host_bits(task.recipe, task.kind, "float16")


def test_samples_have_the_log_probabilities_of_training(tmp_path):
    """The logits are not rounded to bfloat16, and the KL to the start is zero at the start."""
    policy = split_policy()
    params = SamplingParams(max_new_tokens=8, seed=0)
    (drawn,) = sample(policy, [np.arange(5, 9, dtype=np.int32)], params)[0]
    ids = torch.from_numpy(np.concatenate([np.arange(5, 9), drawn.ids])).long()[None]
    with torch.no_grad():
        hidden = policy.model(input_ids=ids).last_hidden_state[0, 3:-1].float()
        logps = (hidden @ policy.get_output_embeddings().weight.float().T).log_softmax(-1)
    expected = logps.gather(1, ids[0, 4:, None]).squeeze(1)
    assert drawn.logps == pytest.approx(expected.numpy(), abs=5e-3)
    probe = KLProbe(policy, random_rows(2, 1))
    assert set(probe()["kl_per_token"].values()) == {0.0}
