"""Log-probabilities of completions: the plain path by hand, then the fast path against the plain one."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from boresight.core.errors import UserError
from boresight.data.rows import Row
from boresight.models.packed.logprobs import completion_logprobs
from boresight.training.activations import recompute_activations
from tests.models.tiny_decoders import CONFIGS, GROUPED, SHAPE, VOCABULARY, build, make_row, random_rows


def llama(dtype=torch.float32, **changes):
    return build(hf.LlamaConfig(**(GROUPED | changes)), dtype)


def sums_and_gradients(model, rows, layout, **options):
    """The result, and every parameter's gradient of a loss that weighs each completion differently."""
    model.zero_grad()
    got = completion_logprobs(model, rows, layout=layout, entropy=True, **options)
    weights = torch.linspace(-1, 2, got.sums.numel(), dtype=got.sums.dtype).view_as(got.sums)
    (weights * got.sums).sum().backward()
    return got, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(model, rows, tolerance, **options):
    """Packed and padded agree relative to the largest entry of each tensor."""
    plain, plain_grads = sums_and_gradients(model, rows, "padded", **options)
    fast, fast_grads = sums_and_gradients(model, rows, "packed", **options)
    assert torch.equal(plain.lengths, fast.lengths)
    assert plain_grads.keys() == fast_grads.keys() and plain_grads
    pairs = {"sums": (plain.sums, fast.sums), "entropy": (plain.entropy, fast.entropy)}
    for name, (a, b) in (pairs | {n: (plain_grads[n], fast_grads[n]) for n in plain_grads}).items():
        assert (a - b).abs().max() <= tolerance * max(1.0, a.abs().max().item()), name


# The plain path, by hand.


def test_a_model_that_knows_nothing_gives_each_token_one_in_vocabulary():
    """Zero head weights: every token has probability 1/61, so 3 scored tokens sum to -3 ln 61."""
    model = llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    rows = [make_row([1, 2], [3, 4, 5], [6, 7], masks=[[True, True, True], [False, True]])]
    for layout in ("padded", "packed"):
        got = completion_logprobs(model, rows, layout=layout, entropy=True)
        assert got.sums.tolist() == [pytest.approx([-3 * math.log(61), -math.log(61)])]
        assert got.lengths.tolist() == [[3, 1]]
        assert got.entropy.tolist() == [pytest.approx([3 * math.log(61), math.log(61)])]


def test_tokens_that_are_never_drawn_add_nothing_to_the_entropy():
    """Some models set the logits of padded vocabulary to minus infinity: 0 times that was NaN."""
    model = llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    never = torch.zeros(VOCABULARY).index_fill(0, torch.arange(51, VOCABULARY), -math.inf)
    model.lm_head.register_forward_hook(lambda module, given, logits: logits + never)
    for layout in ("padded", "auto"):
        got = completion_logprobs(model, [make_row([1, 2], [3, 4, 5])], layout=layout, entropy=True)
        assert got.entropy.tolist() == [[pytest.approx(3 * math.log(51))]]


def test_padded_equals_a_sum_over_positions_one_sequence_at_a_time():
    model = llama()
    prompt, answer = [5, 9, 11], [7, 8]
    logps = model(torch.tensor([prompt + answer])).logits.log_softmax(-1)[0]
    expected = logps[2, 7] + logps[3, 8]
    other = make_row([4], [1, 2, 3, 4, 5, 6, 7])
    got = completion_logprobs(model, [make_row(prompt, answer), other], layout="padded")
    torch.testing.assert_close(got.sums[0, 0], expected)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_tokens_are_what_the_sums_are_of(layout):
    """Of three tokens of one answer two are scored; after the last scored one there are zeros."""
    model = llama()
    rows = [make_row([5, 9], [7, 8, 3, 1], [2]), make_row([4, 4, 4], [1, 2, 3], [6, 6])]
    rows[1].completions[0].mask[1] = False
    got = completion_logprobs(model, rows, layout=layout, tokens=True)
    assert got.tokens.shape == (2, 2, 4)
    torch.testing.assert_close(got.tokens.sum(-1), got.sums)
    assert torch.equal(got.tokens != 0, torch.arange(4) < got.lengths.unsqueeze(-1))
    logps = model(torch.tensor([[4, 4, 4, 1, 2, 3]])).logits.log_softmax(-1)[0]
    torch.testing.assert_close(got.tokens[1, 0], torch.stack([logps[2, 1], logps[4, 3], *logps.new_zeros(2)]))
    got.tokens.sum().backward()
    assert model.lm_head.weight.grad.abs().max() > 0
    assert completion_logprobs(model, rows, layout=layout).tokens is None


def test_tokens_of_rows_that_run_in_forwards_of_their_own(monkeypatch):
    """As for a model whose positions depend on the longest row: the parts come together in place."""
    model, rows = llama(), [make_row([5, 9], [7, 8, 3], [2]), make_row([4], [1], [6, 6])]
    whole = completion_logprobs(model, rows, tokens=True)
    alone = [Row("", row.prompt, (c,)) for row in rows for c in row.completions]
    groups = [([3, 0], [alone[3], alone[0]]), ([1, 2], [alone[1], alone[2]])]
    monkeypatch.setattr("boresight.models.packed.logprobs.split_by_length", lambda *_: groups)
    got = completion_logprobs(model, rows, tokens=True)
    torch.testing.assert_close(got.tokens, whole.tokens)
    torch.testing.assert_close(got.sums, whole.sums)


def test_rows_of_one_batch_carry_the_same_number_of_completions():
    rows = [make_row([1], [2]), make_row([1], [2], [3])]
    for layout in ("padded", "packed"):
        with pytest.raises(ValueError, match="same number"):
            completion_logprobs(llama(), rows, layout=layout)


# The fast path equals the plain one.


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_float32(name):
    assert_same(build(CONFIGS[name]()), random_rows(3, 2, seed=1), 1e-5)


# transformers rounds the eager softmax (gemma2) and Cohere's norm to float32 inside float64 models.
@pytest.mark.parametrize("name", [n for n in CONFIGS if n not in ("gemma2", "cohere")])
def test_every_architecture_float64(name):
    assert_same(build(CONFIGS[name](), torch.float64), random_rows(3, 3, seed=2), 1e-9)


SHARED = llama(torch.float64, tie_word_embeddings=True)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 5),
    k=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([1.0, 0.7]),
)
def test_random_shapes_values_and_every_gradient(count, k, seed, temperature):
    rows = [*random_rows(count, k, seed), make_row([3], *([[5]] * k))]  # at least one scored token
    assert_same(SHARED, rows, 1e-9, temperature=temperature)


def test_the_order_of_rows_and_their_company_do_not_matter():
    rows = random_rows(5, 2, seed=3)
    together = completion_logprobs(SHARED, rows, layout="packed").sums
    backwards = completion_logprobs(SHARED, rows[::-1], layout="packed").sums.flip(0)
    alone = torch.cat([completion_logprobs(SHARED, [row], layout="packed").sums for row in rows])
    torch.testing.assert_close(backwards, together, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)


def test_a_completion_does_not_see_its_sibling():
    """Changing the rejected answer leaves the chosen one's log-probability as it was, to the bit."""
    one, other = make_row([1, 2, 3], [4, 5, 6], [7, 8]), make_row([1, 2, 3], [4, 5, 6], [9, 9])
    a = completion_logprobs(SHARED, [one], layout="packed").sums[0]
    b = completion_logprobs(SHARED, [other], layout="packed").sums[0]
    assert a[0] == b[0] and a[1] != b[1]


def test_fifty_steps_of_dpo_give_the_same_curve():
    """Same seed, same rows, AdamW at 1e-3: the losses stay within 1e-4 while they fall from ln 2."""
    curves = [dpo_losses(layout) for layout in ("padded", "packed")]
    assert curves[0][0] == pytest.approx(math.log(2), abs=1e-5) and curves[0][-1] < 0.4
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


def dpo_losses(layout, steps=50):
    model, rows = llama(), random_rows(8, 2, seed=11)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    with torch.no_grad():
        reference = completion_logprobs(model, rows, layout=layout).sums
    losses = []
    for _ in range(steps):
        ratios = completion_logprobs(model, rows, layout=layout).sums - reference
        loss = -F.logsigmoid(0.1 * (ratios[:, 0] - ratios[:, 1])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "lm_head"]])
def test_lora_on_attention_and_on_the_head_itself(targets):
    model = get_peft_model(
        llama(torch.float64), LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    )
    model.double()
    assert_same(model.eval(), random_rows(3, 2, seed=4), 1e-9)
    with model.disable_adapter():
        base = completion_logprobs(model, random_rows(3, 2, seed=4), layout="packed").sums
    adapted = completion_logprobs(model, random_rows(3, 2, seed=4), layout="packed").sums
    assert not torch.allclose(base, adapted)


def test_gradient_checkpointing_recomputes_the_same_packed_attention():
    model = llama(torch.float64)
    model.train()  # transformers checkpoints in train mode only; this model has no dropout
    _, expected = sums_and_gradients(model, random_rows(3, 2, seed=5), "packed")
    recompute_activations(model)
    _, got = sums_and_gradients(model, random_rows(3, 2, seed=5), "packed")
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-12, atol=1e-12)


def test_bfloat16_autocast_stays_near_float32():
    model, rows = llama(), random_rows(3, 2, seed=6)
    exact = completion_logprobs(model, rows, layout="packed").sums
    with torch.autocast("cpu", torch.bfloat16):
        fast, grads = sums_and_gradients(model, rows, "packed")
        plain = completion_logprobs(model, rows, layout="padded")
    assert fast.sums.dtype == torch.float32
    assert grads["lm_head.weight"].dtype == torch.float32
    error = (fast.sums - exact).abs().max()
    assert error <= 2 * (plain.sums - exact).abs().max() + 0.01 * exact.abs().max()


def test_dropout_in_training_differs_between_calls_and_not_with_one_seed():
    model, rows = llama(attention_dropout=0.5).train(), random_rows(2, 2, seed=7)

    def sums(seed):
        torch.manual_seed(seed)
        return completion_logprobs(model, rows, layout="packed").sums

    assert torch.equal(sums(1), sums(1))
    assert not torch.equal(sums(1), sums(2))


# What cannot run packed.


def test_a_row_beyond_the_sliding_window_takes_the_padded_path_and_says_so_once(caplog):
    model = build(hf.MistralConfig(**GROUPED, sliding_window=12))
    fits, too_long = make_row([1, 2, 3], [4, 5], [6]), make_row(range(1, 11), [7, 8, 9], [1])
    assert_same(model, [fits], 1e-5)
    with caplog.at_level(logging.WARNING, logger="boresight"):
        for _ in range(2):
            got = completion_logprobs(model, [too_long])
    expected = completion_logprobs(model, [too_long], layout="padded")
    assert torch.equal(got.sums, expected.sums)
    assert [r.message for r in caplog.records if "sliding window of 12" in r.message] == [
        caplog.records[0].message
    ]
    with pytest.raises(UserError, match="sliding window of 12"):
        completion_logprobs(model, [too_long], layout="packed")


def test_models_with_attention_of_their_own_take_the_padded_path():
    bloom = build(hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_head=4, n_layer=2))
    with pytest.raises(UserError, match=r"\(the attention of BloomForCausalLM cannot be replaced\)"):
        completion_logprobs(bloom, random_rows(2, 2, seed=8), layout="packed")
    sinks = build(hf.GptOssConfig(**GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1))
    with pytest.raises(UserError, match="s_aux"):
        completion_logprobs(sinks, random_rows(2, 2, seed=8), layout="packed")


def test_an_adapter_with_virtual_tokens_takes_the_padded_path():
    model = get_peft_model(llama(), PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    with pytest.raises(UserError, match="virtual tokens"):
        completion_logprobs(model, random_rows(2, 2, seed=9), layout="packed")


def test_a_model_whose_logits_are_no_function_we_know_takes_the_padded_path():
    class Bent(hf.LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits + out.logits.square()
            return out

    torch.manual_seed(0)
    with pytest.raises(UserError, match="not a known function"):
        completion_logprobs(
            Bent(hf.LlamaConfig(**GROUPED)).eval(), random_rows(1, 2, seed=0), layout="packed"
        )


def test_a_model_that_ignores_positions_is_found_out():
    """A decoder that counts positions through the packed sequence would score siblings too late."""

    class Counting(hf.LlamaForCausalLM):
        pass

    torch.manual_seed(0)
    model = Counting(hf.LlamaConfig(**GROUPED)).eval()
    inner = model.model.forward
    model.model.forward = lambda *a, position_ids=None, **k: inner(*a, **k)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6)
    with pytest.raises(UserError, match="other hidden states"):
        completion_logprobs(model, random_rows(1, 2, seed=0), layout="packed")


def test_generation_is_undisturbed_after_a_packed_forward():
    for name in ("llama", "gemma2"):
        fresh, used = build(CONFIGS[name]()), build(CONFIGS[name]())
        completion_logprobs(used, random_rows(2, 2, seed=1), layout="packed")
        prompt = torch.tensor([[0, 5, 9, 3], [4, 8, 2, 7]])
        options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
        options |= {"attention_mask": (prompt > 0).long()}
        assert torch.equal(fresh.generate(prompt, **options), used.generate(prompt, **options))


def test_saving_after_a_packed_forward_does_not_name_our_attention(tmp_path):
    model = build(hf.GPTNeoXConfig(**SHAPE))
    completion_logprobs(model, random_rows(2, 2, seed=1), layout="packed")
    model.save_pretrained(tmp_path)
    assert "boresight" not in (tmp_path / "config.json").read_text()
    again = hf.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
