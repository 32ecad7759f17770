"""Decoding by steps of few shapes that are captured and replayed, against the sampler that launches all anew.

What a CUDA graph replays is here a recording of operations with their tensors, which finds everything at the
address that it had and reads no number on the host.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.cache_utils import Cache, CacheLayerMixin

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.models.eval_mode import evaluation_mode
from boresight.models.kernels.compact import HalfLinear, compact_frozen
from boresight.models.kernels.fast import kernels_of_run
from boresight.models.kernels.linear import folded_adapters
from boresight.models.kernels.split_weights import split_weights
from boresight.models.lora import adapters_off, attach
from boresight.models.sampler import sample as module
from boresight.models.sampler import trial
from boresight.models.sampler.attention import rollout_attention
from boresight.models.sampler.batch_size import rows_that_fit
from boresight.models.sampler.draw import RowSettings, draw_masked, draw_tokens
from boresight.models.sampler.params import RunningSample, requests
from boresight.models.sampler.sample import SamplingParams, sample, sample_plain
from boresight.models.sampler.static.attention import STATIC
from boresight.models.sampler.static.buckets import DecodeBucket, bucket_of
from boresight.models.sampler.static.buffers import MOST_STEPS, StepBuffers, candidates
from boresight.models.sampler.static.cuda_graphs import capture_of
from boresight.models.sampler.static.rollout import StaticRollout
from boresight.models.sampler.stream import stream
from tests.models.recorded import record
from tests.models.test_sample import OTHERS, assert_same, decoder, flat, prompts
from tests.models.tiny_decoders import CONFIGS, VOCABULARY
from tests.tiny import tiny_model
from tests.versions import NEEDS_GRAD_DTYPE

FREE = SamplingParams(max_new_tokens=22, seed=0)
STOPS = replace(FREE, seed=1, stop_token_ids=(0, 1, 2))
SETTINGS = {
    "greedy": replace(FREE, temperature=0.0, max_new_tokens=12),
    "stops": STOPS,
    "temperature": replace(STOPS, temperature=0.7),
    "top-k": replace(STOPS, top_k=5),
    "top-p": replace(STOPS, top_p=0.6),
    "both": replace(STOPS, top_k=20, top_p=0.9, temperature=1.4),
}


def sample_statically(model, asked, params, k=1, **options):
    with kernels_of_run("fast"):
        return sample(model, asked, params, k, **options)


def drawn_by(capture, model, asked, params, k=1, max_batch=24):
    """Samples of a batch whose steps `capture` records, and the batch."""
    samples = requests(model, asked, params, k)
    with torch.inference_mode(), evaluation_mode(model), rollout_attention(model, STATIC):
        rollout = StaticRollout(model, samples, max_batch, capture)
        while rollout.unfinished:
            rollout.step()
    results = [s.result(model.dtype) for s in samples]
    return [results[i : i + k] for i in range(0, len(results), k)], rollout


@pytest.mark.parametrize("name", CONFIGS)
def test_every_model_draws_the_same(name):
    """In float64, with refills, and rows that stop at different times. Two models have windows of 12."""
    model = decoder(name)
    for params in (SETTINGS["greedy"], SETTINGS["stops"]):
        usual = sample(model, prompts(), params, 3, max_batch=7)
        assert_same(sample_statically(model, prompts(), params, 3, max_batch=7), usual, 1e-9)
    assert len({len(s.ids) for s in flat(usual)}) > 5


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_draws_the_same_from_replays(name):
    model = decoder("gemma2" if name == "stops" else "llama")
    usual = sample(model, prompts(), SETTINGS[name], 3, max_batch=9)
    replayed, rollout = drawn_by(record, model, prompts(), SETTINGS[name], 3, max_batch=9)
    assert any(rollout.replays.values())
    assert_same(replayed, usual, 1e-9)


def test_prompts_may_have_settings_of_their_own():
    model = decoder("llama")
    settings = [
        SamplingParams(
            max_new_tokens=5 * i + 1,
            temperature=0.0 if i % 2 else 0.9,
            top_p=1 - i / 20,
            top_k=i,
            seed=i,
            stop_token_ids=tuple(range(i)),
        )
        for i in range(6)
    ]
    usual = sample_plain(model, prompts(), settings, 2)
    replayed, _ = drawn_by(record, model, prompts(), settings, 2, max_batch=5)
    assert_same(replayed, usual, 1e-9)


def test_a_sample_does_not_depend_on_who_shares_the_batch():
    model, few = decoder("llama"), prompts()[:3]
    usual = sample(model, few, STOPS, 3)
    for max_batch in (1, 4, 9):
        assert_same(sample_statically(model, few, STOPS, 3, max_batch=max_batch), usual, 1e-9)
    assert_same(sample_statically(model, few[:2], STOPS, 1), [group[:1] for group in usual[:2]], 1e-9)


def test_everything_may_end_with_its_first_token():
    everything = replace(FREE, stop_token_ids=tuple(range(VOCABULARY)))
    drawn = sample_statically(decoder("llama"), prompts(), everything, 3, max_batch=2)
    assert [len(s.ids) for s in flat(drawn)] == [1] * 18


def test_no_prompts_give_no_samples():
    assert sample_statically(decoder("llama"), [], FREE, 3) == []


def buckets_up_to(most):
    """All buckets of steps within `most`: a bound on the captures of a rollout."""
    return {bucket_of(r, t) for r in range(1, most.rows + 1) for t in range(1, most.tokens + 1)}


@pytest.mark.parametrize(
    ("rows", "tokens", "bucket"),
    [
        (1, 1, (8, 64)),
        (8, 64, (8, 64)),
        (9, 65, (16, 128)),
        (100, 256, (128, 256)),
        (256, 257, (256, 320)),
        (257, 513, (512, 640)),
        (4096, 2049, (4096, 2560)),
    ],
)
def test_buckets_by_hand(rows, tokens, bucket):
    """Rows to powers of two; tokens to multiples of 64 up to 512, then of 128 up to 1,024, and so on."""
    assert bucket_of(rows, tokens) == DecodeBucket(*bucket)


def test_buckets_are_few_and_hold_what_they_are_asked_for():
    """Up to 256 rows and 1,024 tokens: 8, 16, ..., 256 are 6; 64, 128, ..., 512, 640, ..., 1,024 are 12."""
    sizes = buckets_up_to(DecodeBucket(256, 1024))
    assert len(sizes) == 6 * 12 and max(sizes, key=lambda b: (b.rows, b.tokens)) == DecodeBucket(256, 1024)
    for rows, tokens in np.random.default_rng(0).integers(1, (257, 1025), (500, 2)):
        bucket = bucket_of(int(rows), int(tokens))
        assert bucket in sizes and rows <= bucket.rows and tokens <= bucket.tokens
        assert bucket.rows < max(9, 2 * rows) and bucket.tokens < max(tokens + 64, 1.25 * tokens + 1)


@pytest.mark.parametrize("max_batch", [24, 9])
def test_a_bucket_is_captured_once_and_replayed_from_then_on(max_batch):
    """After a first step that is launched. Samples outgrow 64 tokens, and the batch shrinks to 8 rows."""
    model = decoder("llama")
    captured, replayed = [], []

    def count(step):
        bucket = len(captured)
        captured.append(bucket)
        return lambda: (replayed.append(bucket), step())

    launched = []
    forward = model.forward

    def counting(**inputs):
        launched.append(inputs["input_ids"].shape)
        return forward(**inputs)

    model.forward = counting
    _, rollout = drawn_by(count, model, prompts(), replace(STOPS, max_new_tokens=70), 4, max_batch)
    visited = set(rollout.replays)
    assert len(captured) == sum(replay is not None for replay in rollout.replays.values()) <= len(visited)
    assert visited <= buckets_up_to(rollout.size)
    assert {bucket.tokens for bucket in visited} == {64, 128} and len({b.rows for b in visited}) > 1
    decoded = [shape for shape in launched if shape[1] == 1 and shape[0] in (8, 16, 32)]
    assert len(decoded) == len(replayed) + len(visited)  # every step is a replay, but the first of a bucket
    assert len(replayed) > 2 * len(captured)


def test_a_capture_that_runs_nothing_is_not_taken_for_a_step():
    """A CUDA graph records without running: what is replayed alone counts."""
    model = decoder("llama")

    def without_running(step):
        assert step is not None
        return step

    replayed, _ = drawn_by(without_running, model, prompts(), STOPS, 3)
    assert_same(replayed, sample(model, prompts(), STOPS, 3), 1e-9)


def test_masks_select_what_row_numbers_do():
    """Greedy, plain, top-k, top-p and both, in one batch; also where every token is a candidate."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 700, dtype=torch.float64, generator=generator)
    uniforms = torch.rand(50, dtype=torch.float64, generator=generator)
    params = [
        SamplingParams(max_new_tokens=1, seed=0, temperature=t, top_p=p, top_k=k)
        for t, p, k in [(0, 1, 0), (1, 1, 0), (0.7, 1, 9), (1.5, 0.8, 0), (1, 0.5, 300)]
    ] * 10
    for some in (params, [p for p in params if p.top_p == 1], [p for p in params if p.temperature == 1.5]):
        n = len(some)
        usual = RowSettings.of(
            [p.temperature for p in some],
            [p.top_p for p in some],
            [p.top_k for p in some],
            700,
            torch.device("cpu"),
        )
        buffers = StepBuffers(n, some, 700, torch.device("cpu"))
        running = requests(tiny_model(), [np.array([1])] * n, some, 1)
        for sample_ in running:
            sample_.ids.append(0)
        buffers.load(running, 1)
        ours = draw_masked(logits[:n], buffers.settings(n), uniforms[:n])
        for got, want in zip(ours, draw_tokens(logits[:n], usual, uniforms[:n]), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_candidates_by_hand():
    """A greedy row is never truncated; top-p alone may need every token; top-k bounds it."""
    greedy, free = SamplingParams(max_new_tokens=1, seed=0, temperature=0, top_k=9), FREE
    assert candidates([greedy, free], 61) == 0
    assert candidates([greedy, replace(free, top_k=20), replace(free, top_k=30, top_p=0.5)], 61) == 30
    assert candidates([replace(free, top_k=20), replace(free, top_p=0.5)], 61) == 61
    assert candidates([replace(free, top_k=100)], 61) == 0


def adapted(base):
    model = attach(base, LoraConfig(r=4, alpha=8, targets=["q_proj", "down_proj"]), seed=0).train()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return model


def test_adapters_are_folded_into_the_weights():
    """Samples are those of the adapted model, off those of its base, and neither model is changed."""
    base = decoder("llama", torch.float64)
    of_base = sample_plain(base, prompts(), FREE)
    model = adapted(base)
    plain = sample_plain(model, prompts(), FREE)
    assert_same(sample_statically(model, prompts(), FREE), plain, 1e-6)  # PEFT adds updates in float32
    assert any(a.ids.tolist() != b.ids.tolist() for a, b in zip(flat(plain), flat(of_base), strict=True))
    with adapters_off(model):
        assert_same(sample_statically(model, prompts(), FREE), of_base, 1e-9)
    assert not any("forward" in vars(m) for name, m in model.named_modules() if "norm" not in name)


@torch.no_grad()
def test_a_folded_layer_has_one_product_in_the_precision_of_its_base():
    """4 input columns of W + 2 B A, where alpha / r = 2, rounded once to bfloat16."""
    model = adapted(decoder("llama", torch.float32))
    compact_frozen(model, "bfloat16", torch.bfloat16, None)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    assert type(layer.base_layer) is HalfLinear
    x = torch.eye(48)[:4]
    up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    folded = (layer.base_layer.weight.float() + 2 * up @ down).bfloat16()
    apart = layer(x)
    with folded_adapters(model):
        torch.testing.assert_close(layer(x), folded.T[:4].float(), rtol=0, atol=0)
    torch.testing.assert_close(layer(x), apart, rtol=0, atol=0)


@torch.no_grad()
def test_folding_leaves_alone_what_is_more_than_a_weight():
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    config = PeftConfig(r=2, use_dora=True, target_modules=["q_proj"])
    model = get_peft_model(decoder("llama", torch.float32), config)
    with folded_adapters(model):
        assert not any("forward" in vars(m) for m in model.modules())


@NEEDS_GRAD_DTYPE
def test_split_weights_keep_their_logits_in_float32():
    """As the usual sampler does, whose samples these are but where rounding to bfloat16 decides."""
    model = decoder("llama", torch.float32)
    split_weights(model)
    params = replace(FREE, max_new_tokens=6)
    usual, ours = (f(model, prompts(), params, 2) for f in (sample, sample_statically))
    same = [np.array_equal(a.ids, b.ids) for a, b in zip(flat(usual), flat(ours), strict=True)]
    assert sum(same) >= 9  # of 12
    gaps = [abs(a.logps - b.logps).max() for a, b, s in zip(flat(usual), flat(ours), same, strict=True) if s]
    assert max(gaps) < 0.1


def test_the_model_is_left_as_it_was():
    model = decoder("llama", torch.float32).train()
    model.model.layers[0].eval()
    before = [(name, m.training, "forward" in vars(m)) for name, m in model.named_modules()]
    sample_statically(model, prompts(), FREE, 2)
    assert [(name, m.training, "forward" in vars(m)) for name, m in model.named_modules()] == before
    assert model.config._attn_implementation == "sdpa"


def test_logits_that_are_not_numbers_are_refused():
    """They appear after the prefill, at a token whose embedding is NaN."""
    model = decoder("llama", torch.float32)
    first = flat(sample(model, prompts(), replace(FREE, max_new_tokens=2)))
    samples_ok = sample_statically(model, prompts(), replace(FREE, max_new_tokens=2))
    assert samples_ok  # the trial of the model is over
    with torch.no_grad():
        unseen = set(range(VOCABULARY)) - {int(t) for p in prompts() for t in p}
        bad = next(int(s.ids[0]) for s in first if int(s.ids[0]) in unseen)
        model.model.embed_tokens.weight[bad] = float("nan")
    with pytest.raises(UserError, match=r"^model: the logits that answers are sampled from are NaN"):
        sample_statically(model, prompts(), FREE)


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_the_cache_does_not_serve_is_refused(name):
    """Where `proven` samples without a cache."""
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(OTHERS[name]()).eval()
    params = replace(FREE, max_new_tokens=5)
    if name == "values narrower than keys":  # which these tables may be
        usual = sample(model, prompts(), params, 2)
        assert_same(sample_statically(model, prompts(), params, 2), usual, 1e-4)
        return
    with pytest.raises(UserError, match=r"^model\.kernels: fast kernels cannot be used: .*=proven\.$"):
        sample_statically(model, prompts(), params, 2)


def test_steps_that_give_other_numbers_are_refused(monkeypatch):
    from boresight.models.sampler.static import cache

    monkeypatch.setattr(trial, "_found", {})
    right = cache.StaticStep.bias
    monkeypatch.setattr(cache.StaticStep, "bias", lambda *args: torch.zeros_like(right(*args)))
    with pytest.raises(UserError, match="gives other log-probabilities with it, by"):
        sample_statically(decoder("llama"), prompts(), FREE)
    assert sample(decoder("llama"), prompts(), replace(FREE, max_new_tokens=2))


def test_proven_kernels_launch_every_step(monkeypatch):
    """Today's path: the static one is not entered unless the run chose it."""
    monkeypatch.setattr(module, "StaticRollout", None)
    assert sample(decoder("llama"), prompts(), FREE)


@pytest.mark.parametrize(("free", "rows"), [(10**6, 32), (1_999_000, 64)])
def test_rows_with_copies_of_prompts_take_more_memory(free, rows):
    """Prompts of 4 and 8 tokens, answers of 16: (16 + 8) * 256 bytes and logits of 7,680: 13,824 a row."""
    model = tiny_model()
    running = requests(model, [np.arange(4), np.arange(8)], replace(FREE, max_new_tokens=16), 2)
    assert rows_that_fit(model, running, free, shared_prompts=False) == rows
    assert rows_that_fit(model, running, 2 * 64 * 13_824, shared_prompts=False) == 64
    assert rows_that_fit(model, running, 2 * 64 * 13_824 - 2, shared_prompts=False) == 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_reads_no_number_on_the_host(name, dtype):
    """On torch's `meta` device, whose tensors have shapes and no numbers, and mix with those of no other."""
    model, meta = decoder(name, dtype).to("meta"), torch.device("meta")
    config = model.config.get_text_config()
    samples = [
        RunningSample(i, 0, prompt, p)
        for i, (prompt, p) in enumerate(zip(prompts(), SETTINGS.values(), strict=True))
    ]
    with torch.inference_mode(), rollout_attention(model, STATIC):
        rollout = StaticRollout(model, samples, 6, capture=lambda step: step)
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        states = torch.empty(2, shared, 5, width, dtype=dtype, device=meta)
        rollout.cache.admit_prompts([0, 1], [5, 3], [(states, states)] * config.num_hidden_layers)
        for _ in range(2):
            rollout._step(DecodeBucket(8, 64))
    assert rollout.buffers.drawn.device == meta and rollout.buffers.drawn.shape == (3, MOST_STEPS, 8)


def draw_usually(model, asked, params):
    sample(model, asked, params, 3, max_batch=2)


def draw_statically(model, asked, params):
    with kernels_of_run("fast"):
        sample(model, asked, params, 3, max_batch=2)


def draw_one(model, asked, params):
    stream(model, asked[0], params, lambda ids: None)


def caches_in_memory():
    return [x for x in gc.get_objects() if issubclass(type(x), (Cache, CacheLayerMixin, StaticRollout))]


@pytest.mark.parametrize("draw", [draw_usually, draw_statically, draw_one])
def test_keys_and_values_are_freed_with_the_rollout(draw, monkeypatch):
    """Those of the trial too. In a cycle of references they would wait for Python's collector, which a GPU
    without memory does not call."""
    monkeypatch.setattr(trial, "_found", {})
    model, asked = decoder("llama"), prompts()
    gc.collect()
    before = len(caches_in_memory())
    gc.disable()
    try:
        draw(model, asked, STOPS)
        assert len(caches_in_memory()) == before
    finally:
        gc.enable()


def test_graphs_are_captured_into_one_pool_and_replayed(monkeypatch):
    """The calls of torch.cuda, which a torch for CPUs does not have, in their order."""
    calls = []

    class Graph:
        def replay(self):
            calls.append("replay")

    @contextmanager
    def graph(captured, pool, stream):
        assert isinstance(captured, Graph)
        calls.append(f"capture into {pool} by {stream}")
        yield

    @contextmanager
    def device(current):
        calls.append(f"on {current}")
        yield

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool", raising=False)
    monkeypatch.setattr(torch.cuda, "Stream", lambda of: f"stream of {of}")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    capture = capture_of(torch.device("cuda:1"))
    replays = [capture(lambda: calls.append("step")) for _ in range(2)]
    replays[0]()
    captured = ["on cuda:1", "capture into pool by stream of cuda:1", "step"]
    assert calls == captured * 2 + ["replay"]
    step = object()
    assert capture_of(torch.device("cpu"))(step) is step
