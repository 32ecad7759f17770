"""The fast sampler against the plain one, and what its samples promise."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
import transformers as hf
from rich.console import Console

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.data.rows import Completion, Row
from boresight.models.kernels import libraries
from boresight.models.kernels.libraries import Libraries
from boresight.models.kernels.linear import can_pack, packed_linears
from boresight.models.lora import adapters_off, attach
from boresight.models.packed.logprobs import completion_logprobs, completion_token_logprobs, padded_logprobs
from boresight.models.policy import cache_argument
from boresight.models.sampler import kv_cache, trial
from boresight.models.sampler import sample as module
from boresight.models.sampler.batch_size import batch_for, rows_that_fit
from boresight.models.sampler.decode import Rollout, prefill_batches
from boresight.models.sampler.generate import generate
from boresight.models.sampler.params import requests
from boresight.models.sampler.sample import SamplingParams, sample, sample_plain
from boresight.models.sampler.trial import samples_with_cache
from tests.models.tiny_decoders import CONFIGS, GROUPED, SHAPE, VOCABULARY, build, make_row
from tests.tiny import tiny_model, tiny_tokenizer

LENGTHS = (5, 1, 17, 9, 9, 30)


def prompts(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, n).astype(np.int32) for n in lengths]


def flat(groups):
    return [s for group in groups for s in group]


def assert_same(got, want, tolerance):
    for a, b in zip(flat(got), flat(want), strict=True):
        assert (a.prompt_index, a.finish) == (b.prompt_index, b.finish)
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_allclose(a.logps, b.logps, atol=tolerance, rtol=0)


def decoder(name, dtype=torch.float64):
    config = CONFIGS[name]()
    # Soft-capping is what sdpa cannot do, and transformers refuses to try.
    config._attn_implementation = "eager" if name == "gemma2" else "sdpa"
    if name in ("gemma2", "gemma3"):
        config.sliding_window = 12  # shorter than prompts and completions
    return build(config, dtype)


@pytest.mark.parametrize("name", CONFIGS)
def test_fast_and_plain_draw_the_same_in_float64(name):
    """Greedy, and sampled with stops; a small batch, so that samples come and go."""
    model = decoder(name)
    assert samples_with_cache(model, requests(model, prompts(), SamplingParams(max_new_tokens=12, seed=0), 1))
    greedy = SamplingParams(max_new_tokens=12, temperature=0.0, seed=0)
    stops = SamplingParams(max_new_tokens=18, seed=1, stop_token_ids=tuple(range(6)))
    for params, k in ((greedy, 1), (stops, 3)):
        fast = sample(model, prompts(), params, k, max_batch=7)
        # The eager attention that soft-capping needs takes its softmax in float32.
        assert_same(fast, sample_plain(model, prompts(), params, k), 1e-6 if name == "gemma2" else 1e-9)
    assert len({len(s.ids) for s in flat(fast)}) > 2  # samples did come and go


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt-neox"])
def test_fast_and_plain_agree_in_float32_from_packed_weights(name, monkeypatch):
    monkeypatch.setattr(libraries, "_in_force", Libraries(decoding="onednn"))
    model = decoder(name, torch.float32)
    params = SamplingParams(max_new_tokens=60, temperature=0.8, top_p=0.95, top_k=40, seed=0)
    assert can_pack(model) and params.max_new_tokens * len(LENGTHS) * 3 >= module.WORTHWHILE
    fast = sample(model, prompts(), params, 3)
    rows = [
        Row(str(s.prompt_index), prompts()[s.prompt_index], (Completion(s.ids, np.ones(len(s.ids), bool)),))
        for s in flat(fast)
    ]
    with torch.no_grad():
        sums = padded_logprobs(model, rows, temperature=0.8).sums[:, 0].numpy()
    ours = np.array([s.logps.sum() for s in flat(fast)])
    np.testing.assert_allclose(ours, sums, atol=1e-4 * 60)
    assert flat(fast)[0].logps.dtype == np.float32


def test_logps_match_the_training_forward_at_a_temperature():
    """The gate that an online run logs with every step, here on the packed training path."""
    model = decoder("llama", torch.float32)
    drawn = sample(model, prompts(), SamplingParams(max_new_tokens=20, temperature=1.3, seed=4), 2)
    rows = [
        Row(str(i), prompt, tuple(Completion(s.ids, np.ones(len(s.ids), bool)) for s in group))
        for i, (prompt, group) in enumerate(zip(prompts(), drawn, strict=True))
    ]
    with torch.no_grad():
        sums = completion_logprobs(model, rows, temperature=1.3).sums.numpy()
    ours = np.array([[s.logps.sum() for s in group] for group in drawn])
    np.testing.assert_allclose(ours / 20, sums / 20, atol=1e-4)


def test_a_sample_does_not_depend_on_who_shares_the_batch():
    model = decoder("llama")
    params = SamplingParams(max_new_tokens=15, seed=7, stop_token_ids=tuple(range(6)))
    whole = sample(model, prompts(), params, 4)
    for max_batch in (1, 5, 24):
        assert_same(sample(model, prompts(), params, 4, max_batch=max_batch), whole, 1e-9)
    fewer = sample(model, prompts()[:3], params, 2)
    assert_same(fewer, [group[:2] for group in whole[:3]], 1e-9)


def test_samples_of_a_prompt_differ_and_follow_the_seed():
    model = decoder("llama")
    same_prompt = [prompts()[0]] * 2

    def texts(seed):
        return [
            tuple(s.ids)
            for s in flat(sample(model, same_prompt, SamplingParams(max_new_tokens=12, seed=seed), 3))
        ]

    assert len(set(texts(0))) == 6
    assert texts(0) == texts(0)
    assert not set(texts(0)) & set(texts(1))


def test_first_tokens_come_as_often_as_the_model_says():
    """6,000 samples of one token; a cell with fewer than 5 expected would not be chi-square."""
    from scipy.stats import chisquare

    model = tiny_model(vocab=12, dtype=torch.float64)
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
        p = model(torch.tensor([[3, 1, 2]])).logits[0, -1].softmax(-1).numpy()
    assert p.min() * 6000 > 5
    drawn = sample(
        model, [np.array([3, 1, 2])], SamplingParams(max_new_tokens=1, seed=0), 6000, max_batch=6000
    )
    counts = np.bincount([s.ids[0] for s in drawn[0]], minlength=12)
    assert chisquare(counts, 6000 * p).pvalue > 1e-3


def test_stop_token_is_kept_and_ends_the_sample():
    model = decoder("llama")
    free = sample(model, prompts(), SamplingParams(max_new_tokens=10, seed=0))
    stop = int(free[0][0].ids[4])
    first = list(free[0][0].ids).index(stop)
    stopped = sample(model, prompts(), SamplingParams(max_new_tokens=10, seed=0, stop_token_ids=(stop,)))
    np.testing.assert_array_equal(stopped[0][0].ids, free[0][0].ids[: first + 1])
    assert stopped[0][0].finish == "stop"
    # The last allowed token may be the stop token: then it stopped by itself.
    last = int(free[0][0].ids[-1])
    if last not in free[0][0].ids[:-1]:
        ended = sample(
            model, prompts()[:1], SamplingParams(max_new_tokens=10, seed=0, stop_token_ids=(last,))
        )
        assert (len(ended[0][0].ids), ended[0][0].finish) == (10, "stop")


def test_everything_may_end_with_its_first_token():
    model = decoder("llama")
    everything = SamplingParams(max_new_tokens=5, seed=0, stop_token_ids=tuple(range(VOCABULARY)))
    drawn = sample(model, prompts(), everything, 3, max_batch=2)
    assert [len(s.ids) for s in flat(drawn)] == [1] * 18


def test_each_prompt_may_have_its_own_settings():
    model = decoder("llama")
    settings = [
        SamplingParams(max_new_tokens=i + 1, temperature=0.0 if i % 2 else 0.9, top_p=1 - i / 20, seed=i)
        for i in range(len(LENGTHS))
    ]
    together = sample(model, prompts(), settings, 2)
    assert [len(s.ids) for s in flat(together)] == [i + 1 for i in range(len(LENGTHS)) for _ in range(2)]
    assert_same(together, sample_plain(model, prompts(), settings, 2), 1e-9)


def test_models_get_the_cache_by_the_name_that_they_have_for_it():
    """A renamed argument warns in the middle of a run, and later is not taken at all."""

    class Older:
        def forward(self, input_ids, past_key_values=None): ...

    class Newer:
        def forward(self, input_ids, cache=None, **kwargs): ...

    assert [cache_argument(kind()) for kind in (Older, Newer)] == ["past_key_values", "cache"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        sample(decoder("llama"), prompts(), SamplingParams(max_new_tokens=3, seed=0), 1)


def test_an_adapted_model_and_its_base():
    """Adapters folded into packed weights give what the adapted model gives; off, what the base gives."""
    base = decoder("llama", torch.float32)
    params = SamplingParams(max_new_tokens=70, temperature=0.0, seed=0)
    of_base = sample_plain(base, prompts(), params, 1)
    adapted = attach(base, LoraConfig(r=4, alpha=8, targets=["q_proj", "down_proj"]), seed=0).train()
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    fast = sample(adapted, prompts(), params, 3)
    plain = sample_plain(adapted, prompts(), params)
    assert_same([group[:1] for group in fast], plain, 1e-4)
    assert any(a.ids.tolist() != b.ids.tolist() for a, b in zip(flat(plain), flat(of_base), strict=True))
    with adapters_off(adapted):
        assert_same([g[:1] for g in sample(adapted, prompts(), params, 3)], of_base, 1e-4)


def test_folding_leaves_alone_what_is_more_than_a_weight():
    """DoRA rescales the columns: its layers keep their own forward, and only their base is packed."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    model = get_peft_model(
        decoder("llama", torch.float32), PeftConfig(r=2, use_dora=True, target_modules=["q_proj"])
    )
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
        before = model(ids).logits
        with packed_linears(model):
            torch.testing.assert_close(model(ids).logits, before, atol=1e-4, rtol=1e-4)


def test_the_model_is_left_as_it_was():
    model = decoder("llama", torch.float32).train()
    model.model.layers[0].eval()
    before = [(name, m.training, "forward" in vars(m)) for name, m in model.named_modules()]
    attention = model.config._attn_implementation
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    sample(model, prompts(), SamplingParams(max_new_tokens=70, seed=0), 3)
    assert [(name, m.training, "forward" in vars(m)) for name, m in model.named_modules()] == before
    assert model.config._attn_implementation == attention
    assert torch.equal(torch.get_rng_state(), state)
    for name, p in model.named_parameters():
        assert torch.equal(p, weights[name]) and p.requires_grad
    model(torch.tensor([[1, 2]])).logits.sum().backward()


def test_an_interrupted_rollout_leaves_the_model_as_it_was(monkeypatch):
    model = decoder("llama", torch.float32).train()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Rollout, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample(model, prompts(), SamplingParams(max_new_tokens=70, seed=0), 3)
    assert model.training and model.config._attn_implementation == "sdpa"
    assert not any("forward" in vars(m) for m in model.modules())


def test_a_model_that_the_fast_path_does_not_cover_takes_the_plain_one(monkeypatch):
    model = decoder("llama")
    params = SamplingParams(max_new_tokens=6, seed=0)
    fast = sample(model, prompts(), params, 2)
    monkeypatch.setattr(trial, "_found", {})
    monkeypatch.setattr(trial, "unsupported", lambda _: "it is asked not to")
    assert not samples_with_cache(model, [])
    monkeypatch.setattr(module, "Rollout", None)
    assert_same(sample(model, prompts(), params, 2), fast, 1e-9)


OTHERS = {
    "passes no cache on to its layers": lambda: hf.NemotronConfig(**GROUPED),
    "takes no positions": lambda: hf.OPTConfig(
        vocab_size=61,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=32,
    ),
    "values narrower than keys": lambda: hf.DeepseekV3Config(
        **SHAPE,
        num_key_value_heads=4,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=8,
        first_k_dense_replace=1,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_the_cache_does_not_serve_is_found_out_by_trying(name, caplog, monkeypatch):
    """Whatever it declares: samples carry the log-probabilities of plain forwards, after one line of log."""
    monkeypatch.setattr(trial, "_found", {})
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(OTHERS[name]()).eval()
    params = SamplingParams(max_new_tokens=5, seed=0)
    drawn = sample(model, prompts(), params, 2)
    sample(model, prompts(), params, 2)
    said = [record.message for record in caplog.records if record.name == "boresight"]
    assert len(said) == 1 and said[0].startswith("Sampling without a cache, "), "once, though sampled twice"
    for prompt, group in zip(prompts(), drawn, strict=True):
        for one in group:
            row = make_row(prompt, one.ids)
            ((expected,),) = completion_token_logprobs(model, [row])
            np.testing.assert_allclose(one.logps, expected.numpy(), atol=1e-4)


def test_want_of_memory_in_the_trial_is_no_obstacle_of_the_model(monkeypatch):
    def exhausted(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trial, "_found", {})
    model, params = tiny_model(), SamplingParams(max_new_tokens=2, seed=0)
    samples = requests(model, prompts(), params, 1)
    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(trial, "_draw", exhausted)
        samples_with_cache(model, samples)
    assert samples_with_cache(model, samples)


def test_samples_longer_than_the_window_are_tried_beyond_it(monkeypatch):
    """Phi 3.5 MoE masks with a window and does not pass it to its attention."""
    tried = []
    monkeypatch.setattr(trial, "_found", {})
    monkeypatch.setattr(trial, "_obstacle", lambda kind, model, lengths: tried.append(lengths))
    model = decoder("gemma2")
    for tokens in (7, 8, 9):  # with a prompt of 4 tokens, and a window of 12
        params = SamplingParams(max_new_tokens=tokens, seed=0)
        samples_with_cache(model, requests(model, [np.arange(4)], params, 1))
    assert tried == [(3, 8), (3, 20)]


def test_one_trial_serves_all_models_of_a_config(monkeypatch):
    monkeypatch.setattr(trial, "_found", {})
    assert samples_with_cache(decoder("llama"), [])
    monkeypatch.setattr(trial, "_obstacle", lambda *_: pytest.fail("tried again"))
    assert samples_with_cache(decoder("llama"), [])


def test_a_cache_that_gives_other_numbers_is_noticed(monkeypatch, caplog):
    monkeypatch.setattr(trial, "_found", {})
    right = kv_cache.DecodeStep.bias
    monkeypatch.setattr(kv_cache.DecodeStep, "bias", lambda *args: torch.zeros_like(right(*args)))
    assert not samples_with_cache(decoder("llama"), [])
    assert "gives other log-probabilities with it, by" in caplog.text


def test_prefill_batches_keep_order_and_waste_little():
    lengths = sorted(np.random.default_rng(0).integers(1, 400, 100), reverse=True)
    batches = list(prefill_batches({i: np.zeros(n, np.int32) for i, n in enumerate(lengths)}))
    assert [i for batch in batches for i in batch] == list(range(100))
    for batch in batches:
        area = len(batch) * max(map(len, batch.values()))
        assert area - sum(map(len, batch.values())) <= max(64, area // 8)
    assert len(batches) < 40


def test_answers_are_text_without_special_tokens():
    tokenizer = tiny_tokenizer()
    model = tiny_model(vocab=len(tokenizer))
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    asked = [[{"role": "user", "content": text}] for text in ("one", "two words")]
    console = Console(file=io.StringIO())
    params = SamplingParams(max_new_tokens=8, seed=0, stop_token_ids=(stop,))
    answers = [group[0].text for group in generate(model, tokenizer, asked, params, console=console)]
    assert len(answers) == 2 and all("<|" not in text for text in answers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: 0 is out of range; it must be at least 1"),
        ({"temperature": -1.0}, "temperature: -1.0"),
        ({"top_p": 0.0}, "top_p: 0.0"),
        ({"top_k": -1}, "top_k: -1"),
        ({"seed": -1}, "seed: -1"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        SamplingParams(**({"max_new_tokens": 5, "seed": 0} | change))


def test_prompts_that_cannot_be_sampled_from_are_refused():
    model, params = decoder("llama"), SamplingParams(max_new_tokens=2, seed=0)
    with pytest.raises(UserError, match="prompt 1 is empty"):
        sample(model, [np.array([1]), np.array([], np.int32)], params)
    with pytest.raises(UserError, match="2 settings for 1 prompts"):
        sample(model, [np.array([1])], [params, params])
    with pytest.raises(UserError, match="k: 0"):
        sample(model, [np.array([1])], params, 0)


def test_no_prompts_give_no_samples():
    assert sample(decoder("llama"), [], SamplingParams(max_new_tokens=2, seed=0), 3) == []


@pytest.mark.starter
@pytest.mark.slow
def test_the_starter_model_samples_as_it_trains(starter):
    from boresight.models.load import load_model, load_tokenizer

    model, tokenizer = load_model("starter"), load_tokenizer("starter")
    asked = [np.array(tokenizer(text).input_ids, np.int32) for text in ("The sea is", "Two and two make")]
    drawn = sample(model, asked, SamplingParams(max_new_tokens=24, seed=0), 2)
    rows = [
        Row(str(i), prompt, tuple(Completion(s.ids, np.ones(len(s.ids), bool)) for s in group))
        for i, (prompt, group) in enumerate(zip(asked, drawn, strict=True))
    ]
    with torch.no_grad():
        sums = completion_logprobs(model, rows).sums.numpy()
    np.testing.assert_allclose(
        np.array([[s.logps.sum() for s in g] for g in drawn]) / 24, sums / 24, atol=1e-4
    )


@pytest.mark.parametrize(("tokens", "batch"), [(16, 1024), (5_000, 838), (1_000_000, 256)])
def test_small_models_sample_more_at_a_time(tokens, batch):
    """The tiny model keeps 2 layers x 2 heads x 8 numbers of 4 bytes, keys and values: 256 bytes a token."""
    model = tiny_model()
    running = requests(model, prompts(), SamplingParams(max_new_tokens=tokens, seed=0), 1)
    assert batch_for(model, running) == batch


@pytest.mark.parametrize(("free", "batch"), [(10**6, 32), (10**5, 16), (10**9, 4096), (1_999_000, 64)])
def test_a_gpu_samples_as_many_at_a_time_as_its_memory_holds(free, batch):
    """2 prompts of 4 and 8 tokens, 2 samples each of 16 tokens: (16 + 12 / 4) * 256 bytes and logits of 320
    tokens, 6 * 4 * 320 = 7,680 bytes: 12,544 a row. Half of 1 MB holds 39 rows, of 1.999 MB 79."""
    running = requests(
        tiny_model(), [np.arange(4), np.arange(8)], SamplingParams(max_new_tokens=16, seed=0), 2
    )
    assert rows_that_fit(tiny_model(), running, free) == batch


@torch.no_grad()
def test_a_prefill_leaves_one_row_of_logits_per_prompt():
    """4 prompts of unlike lengths: views would keep 4 x 4 rows of 320 logits."""
    several = [np.arange(3, 3 + n, dtype=np.int32) for n in (2, 5, 6, 9)]
    params = SamplingParams(max_new_tokens=4, seed=0)
    rollout = Rollout(tiny_model(), requests(tiny_model(), several, params, 1), 2)
    rollout._prefill(dict(enumerate(several)))
    held = [row.untyped_storage().nbytes() for row in rollout.first_logits.values()]
    assert held == [320 * 4] * 4
