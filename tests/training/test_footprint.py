"""Estimated memory beside the bytes of tensors that a training step really holds, and what fits where."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from boresight.config.lora import LoraConfig
from boresight.config.recipe import OptimSection
from boresight.data.rows import Completion, Row
from boresight.models import lora
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels import split_bits
from boresight.models.kernels.compact import compact_frozen, count_parameters
from boresight.models.kernels.matmul import gradients_in_place
from boresight.models.kernels.split_weights import low_bits, split_weights
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import causal_model
from boresight.training.activations import recompute_activations
from boresight.training.footprint import estimate
from boresight.training.footprint.estimate import Footprint
from boresight.training.footprint.layer import Shape
from boresight.training.optimizer import split_adamw
from boresight.training.optimizer.adamw import make_optimizer
from tests.live_bytes import LiveBytes
from tests.models.families import FAMILIES, config_of
from tests.tiny import tiny_model
from tests.versions import NEEDS_GRAD_DTYPE

WITHIN = 0.10
QKVO = LoraConfig(r=8, dropout=0)
EVERYWHERE = LoraConfig(r=8, dropout=0.1, targets="all-linear")


def rows(count, prompt, answer, vocabulary):
    rng = np.random.default_rng(0)

    def completion():
        return Completion(rng.integers(3, vocabulary, answer).astype(np.int32), np.ones(answer, bool))

    return [
        Row(f"r{i}", rng.integers(3, vocabulary, prompt).astype(np.int32), (completion(), completion()))
        for i in range(count)
    ]


def policy_of(dtype, config, arch, **shape):
    """A model published in bfloat16, as a run in `dtype` would hold it."""
    policy = tiny_model(arch, **shape)
    for parameter in policy.parameters():
        parameter.data = parameter.data.bfloat16().float()
    if config is not None:
        policy = lora.attach(policy, config, seed=0)
        base = causal_model(policy)
        form = "bfloat16" if dtype == "bfloat16" else "float32"
        compact_frozen(base, form, getattr(torch, dtype), base.get_output_embeddings())
    return policy.train()


def held(policy, dtype, batch, low_on_host=False):
    """Bytes of tensors at the peak of the second of two micro-batches and of the update after them.

    Without what is in host memory: of these tests all is, so it is what the run would keep there.
    """
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer = make_optimizer(policy, OptimSection(lr=1e-3))

    def micro_batch():
        with arithmetic(policy, dtype), gradients_in_place():
            loss = completion_logprobs(policy, batch).sums.sum()
        loss.backward()

    micro_batch()
    optimizer.step()
    known = [list(policy.parameters()), list(policy.buffers()), [p.grad for p in trained], low_bits(trained)]
    with LiveBytes([known, [list(state.values()) for state in optimizer.state.values()]]) as live:
        micro_batch()
        optimizer.step()
    of_host = sum(low.nbytes for low in low_bits(trained)) if low_on_host else 0
    return live.peak - of_host


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("config", [None, QKVO, EVERYWHERE], ids=["all weights", "lora", "lora everywhere"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_within_a_tenth_of_what_is_held(dtype, config, recompute):
    check("llama", dtype, config, recompute, {"hidden_size": 192, "intermediate_size": 512})


@NEEDS_GRAD_DTYPE
@pytest.mark.parametrize("low_on_host", [False, True], ids=["device", "host"])
@pytest.mark.parametrize(
    ("recompute", "count"), [(False, 16), (True, 40), (True, 4)], ids=["kept", "recomputed", "update"]
)
def test_split_weights_within_a_tenth(recompute, count, low_on_host):
    """Of few tokens the update is the peak, which has one bucket in float32."""
    shape = {"hidden_size": 192, "intermediate_size": 512}
    split = {"split": True, "low_on_host": low_on_host}
    check("llama", "bfloat16", None, recompute, shape, count=count, **split)


@NEEDS_GRAD_DTYPE
@pytest.mark.parametrize("low_on_host", [False, True], ids=["device", "host"])
def test_a_large_embedding_within_a_tenth(low_on_host, monkeypatch):
    """The tied table of 12,000 rows has five sixths of the weights. Neither its gradient nor its float32
    weights are made a second time: it is updated in pieces of 2^17 entries."""
    monkeypatch.setattr(estimate, "BUCKET", 1 << 17)
    monkeypatch.setattr(split_adamw, "PIECE", 1 << 17)
    monkeypatch.setattr(split_bits, "CHUNK", 1 << 15)
    monkeypatch.setattr(estimate, "CHUNK", 1 << 15)
    shape = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "tie_word_embeddings": True,
    }
    split = {"split": True, "low_on_host": low_on_host}
    check("llama", "bfloat16", None, True, shape, count=4, vocabulary=12_000, **split)


@pytest.mark.parametrize(
    ("arch", "shape"),
    [
        ("qwen2", {"hidden_size": 128, "intermediate_size": 640, "num_hidden_layers": 6}),
        ("llama", {"hidden_size": 256, "intermediate_size": 512, "num_key_value_heads": 4}),
        ("llama", {"hidden_size": 96, "intermediate_size": 256, "tie_word_embeddings": True}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_shapes(arch, shape, dtype):
    check(arch, dtype, None, False, shape)


def check(arch, dtype, config, recompute, shape, split=False, low_on_host=False, count=4, vocabulary=2000):
    """128 tokens per row, 68 of them scored."""
    shape = {"num_hidden_layers": 4, "tie_word_embeddings": False} | shape
    policy = policy_of(dtype, config, arch, vocab=vocabulary, **shape)
    batch = rows(count, 60, 34, vocabulary)
    if split:
        split_weights(policy, estimate.BUCKET, low_on_host=low_on_host)
    completion_logprobs(policy, batch[:1])  # tries the layout
    recompute_activations(causal_model(policy), recompute)
    footprint = Footprint(
        shape=Shape.of(causal_model(policy).config),
        parameters=count_parameters(causal_model(policy))
        - sum(p.numel() for n, p in policy.named_parameters() if "lora_" in n),
        trained=sum(p.numel() for p in policy.parameters() if p.requires_grad),
        dtype=dtype,
        lora=config,
        base="bfloat16" if config and dtype == "bfloat16" else "float32",
        split=split,
        low_on_host=low_on_host,
    )
    estimated = footprint.peak_gb(128 * count, recompute=recompute, scored=68 / 128)
    assert estimated == pytest.approx(held(policy, dtype, batch, low_on_host) / 1e9, rel=WITHIN)


def on_a_gpu(shape, parameters, config=None, **settings):
    """Peak of a run in bfloat16 with 4,096 tokens per forward, activations computed again, GB."""
    both = {"q_proj": shape.hidden, "o_proj": shape.hidden, "k_proj": shape.kv, "v_proj": shape.kv}
    adapters = shape.layers * 16 * sum(shape.hidden + width for width in both.values())
    footprint = Footprint(
        shape=shape,
        parameters=parameters,
        trained=adapters if config else parameters,
        dtype="bfloat16",
        lora=config,
        cuda=True,
        **settings,
    )
    return footprint.peak_gb(4096, recompute=True)


LLAMA_7B = Shape(layers=32, hidden=4096, intermediate=11008, kv=4096, vocabulary=32000), 6_738_415_616
QWEN_7B = Shape(layers=28, hidden=3584, intermediate=18944, kv=512, vocabulary=152064), 7_615_616_512
QWEN_HALF_B = Shape(layers=24, hidden=896, intermediate=4864, kv=128, vocabulary=151936), 494_032_768


@pytest.mark.parametrize("model", [LLAMA_7B, QWEN_7B], ids=["Llama-2-7B", "Qwen2.5-7B"])
def test_adapters_on_7b_fit_into_19_gb_and_in_4_bits_into_9(model):
    assert on_a_gpu(*model, LoraConfig(), base="bfloat16") < 19
    assert on_a_gpu(*model, LoraConfig(), base="nf4") < 9


def test_all_weights_of_half_a_billion_fit_into_8_gb():
    """With float32 moments 16 bytes per weight are 7.90 GB, 14 are 6.92; with activations 8.44 and 7.46."""
    assert on_a_gpu(*QWEN_HALF_B, split=True, low_on_host=True) < 7.5
    assert 16 * QWEN_HALF_B[1] / 1e9 < 8 < on_a_gpu(*QWEN_HALF_B, split=True) < 8.5
    assert on_a_gpu(*QWEN_HALF_B, states="8bit", split=True, low_on_host=True) < 5
    assert on_a_gpu(*QWEN_HALF_B, states="8bit", split=True) < on_a_gpu(*QWEN_HALF_B, states="8bit") < 6


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_shape(family):
    """Mamba has no attention, and vision models keep their decoder's widths in a config of its own."""
    found = Shape.of(config_of(family))
    assert min(found.layers, found.hidden, found.intermediate, found.kv, found.vocabulary) > 0
    assert Footprint(found, parameters=10**6, trained=10**6).peak_gb(512, recompute=True) > 0


def test_layers_of_several_widths_count_as_the_widest():
    """Gemma 3n's config has a width per layer."""
    layers = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(**layers, intermediate_size=16, vocab_size=32)
    assert Shape.of(config).intermediate == 16
    vars(config)["intermediate_size"] = [16, 24]
    assert Shape.of(config).intermediate == 24
