"""Faults that cost people days, each planted in a healthy run: the first finding must name it."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from boresight import methods
from boresight.checks.run.model import Wiring, beyond_context
from boresight.core.schema import Prompt
from boresight.data.stop_tokens import end_of_turn
from boresight.methods.inputs import GroupLogps
from boresight.models.reference.frozen import LiveReference
from boresight.scorers.rewards import Rewards
from tests.checks import builders as b
from tests.models.families import config_of
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import random_rows

# Data ---------------------------------------------------------------------------------------------------


def some_swapped(share: float):
    """Labels of this share of the pairs swapped, scores staying with their answers."""
    healthy = b.pairs()
    cut = round(share * len(healthy))
    return b.found_in_data([b.swapped(p, scores=True) for p in healthy[:cut]] + healthy[cut:])


def identical():
    healthy = b.pairs()
    return b.found_in_data([replace(p, rejected=p.chosen) for p in healthy[:60]] + healthy[60:])


def near_identical():
    def close(pair):
        text = pair.chosen[0]["content"]
        return replace(pair, rejected=[{"role": "assistant", "content": text[:-1] + "!"}])

    return b.found_in_data([close(p) for p in b.pairs()])


def length_leak():
    def longer(pair):
        text = " ".join([pair.chosen[0]["content"], *b.FILLERS, *random.Random(pair.id).sample(b.FILLERS, 9)])
        return replace(pair, chosen=[{"role": "assistant", "content": text}])

    return b.found_in_data([longer(p) for p in b.pairs()])


def train_eval_leak():
    healthy = b.pairs()
    return b.found_in_data(healthy, held=healthy[:40] + b.pairs(80, seed=5))


def shuffled():
    healthy = b.pairs()
    moved = healthy[7:] + healthy[:7]
    return b.found_in_data([replace(p, prompt=q.prompt) for p, q in zip(healthy, moved, strict=True)])


def test_answers_of_one_column_that_name_their_prompt_are_not_shuffled():
    """Chosen answers without a word of their prompt, as of a style that does not repeat the question."""
    healthy = b.pairs()
    styled = [replace(p, chosen=q.chosen) for p, q in zip(healthy, healthy[7:] + healthy[:7], strict=True)]
    assert "prompts-shuffled" not in {f.name for f in b.found_in_data(styled)}
    both = [replace(p, rejected=q.rejected) for p, q in zip(styled, healthy[9:] + healthy[:9], strict=True)]
    (found,) = [f for f in b.found_in_data(both) if f.name == "prompts-shuffled"]
    assert "neither the chosen nor the rejected answers repeat more words" in found.why
    assert re.search(r"points: chosen [+-]0\.\d ± \d\.\d, rejected [+-]0\.\d ± \d\.\d\.$", found.why)


def nan_row():
    healthy = b.pairs()
    return b.found_in_data([replace(healthy[0], chosen_score=math.nan), *healthy[1:]])


def contradictions():
    healthy = b.pairs(scored=False)
    return b.found_in_data(healthy + [b.swapped(p) for p in healthy[:80]])


def applied_template():
    def wrapped(pair):
        text = f"<|im_start|>user\n{pair.prompt[0]['content']}<|im_end|>"
        return replace(pair, prompt=[{"role": "user", "content": text}])

    return b.found_in_data([wrapped(p) for p in b.pairs()])


def damaged():
    def broken(pair):
        text = pair.chosen[0]["content"] + " caf\u00c3\u00a9"
        return replace(pair, chosen=[{"role": "assistant", "content": text}])

    return b.found_in_data([broken(p) for p in b.pairs()[:20]] + b.pairs()[20:])


def refusals():
    def refused(pair):
        text = "I'm sorry, but " + pair.rejected[0]["content"][11:]
        return replace(pair, rejected=[{"role": "assistant", "content": text}])

    healthy = b.pairs()
    return b.found_in_data([refused(p) for p in healthy[:90]] + healthy[90:])


# Tokens -------------------------------------------------------------------------------------------------


def full_mask():
    return b.found_in_tokens(
        b.facts_of(b.change_completions(b.rows(), lambda ids, mask: (ids, mask & False)))
    )


def missing_eos():
    cut = b.change_completions(b.rows(), lambda ids, mask: (ids[:-1], mask[:-1]))
    return b.found_in_tokens(b.facts_of(cut))


def without_last(ids, mask):
    mask[-1] = False
    return ids, mask


def pad_is_eos():
    return b.found_in_tokens(b.facts_of(b.change_completions(b.rows(), without_last), pad=b.END.id))


def eos_unscored():
    return b.found_in_tokens(b.facts_of(b.change_completions(b.rows(), without_last)))


def double_bos():
    twice = [replace(r, prompt=np.append(b.BOS, r.prompt).astype(np.int32)) for r in b.rows()]
    return b.found_in_tokens(b.facts_of(twice))


def left_padding():
    padded = [replace(r, prompt=np.append([b.PAD] * 3, r.prompt).astype(np.int32)) for r in b.rows()]
    return b.found_in_tokens(b.facts_of(padded))


def wrong_template_at_evaluation():
    templates = {"training": "<user>Hi<end>", "evaluation": "### User: Hi"}
    return b.found_in_tokens(b.facts_of(b.rows(), templates=templates))


def chosen_cut():
    def grown(ids, mask):
        ids = np.concatenate([ids[:-1], np.full(80, 7), ids[-1:]]).astype(np.int32)
        return ids, np.ones(len(ids), bool)

    return b.found_in_tokens(b.facts_of(b.change_completions(b.rows(), grown, sides=(0,)), truncation="cut"))


# Model --------------------------------------------------------------------------------------------------


def bf16_at_2e7():
    return b.found_in_model(b.wired(b.recipe("dpo", "optim.lr=2e-7", data=b.SHORT), dtype=torch.bfloat16))


def frozen():
    wiring = b.wired()
    for name, parameter in wiring.model.named_parameters():
        parameter.requires_grad_("lm_head" in name)
    return b.found_in_model(wiring)


def runs_on():
    wiring = b.wired()
    wiring.model.generation_config.eos_token_id = 0
    return b.found_in_model(wiring)


def untied():
    wiring = b.wired(tie_word_embeddings=True)
    table = wiring.model.get_input_embeddings().weight
    wiring.model.lm_head.weight = torch.nn.Parameter(table.detach().clone())
    return b.found_in_model(wiring)


# Policy and reference -----------------------------------------------------------------------------------


def other_reference():
    return b.found_at_start(tiny_model(), LiveReference(tiny_model(seed=1), 10_000), random_rows(6, 2))


def dropping_out(arch_seed: int = 0):
    return tiny_model("gpt_neox", seed=arch_seed, hidden_dropout=0.2).train()


def dropout_in_reference():
    frozen_model = dropping_out()

    def reference(rows):
        from boresight.models.packed.logprobs import completion_logprobs

        with torch.no_grad():
            return completion_logprobs(frozen_model, rows).sums.float()

    return b.found_at_start(tiny_model("gpt_neox"), reference, random_rows(6, 2))


def dropout_in_training():
    policy = dropping_out()
    reference = LiveReference(tiny_model("gpt_neox"), 10_000)
    return b.found_at_start(policy, reference, random_rows(6, 2))


def nan_weights():
    policy = tiny_model()
    with torch.no_grad():
        policy.model.norm.weight[0] = math.nan
    return b.found_at_start(policy, LiveReference(policy, 10_000), random_rows(6, 2))


# Settings -----------------------------------------------------------------------------------------------


def small_budget():
    """5,000 pairs, 2e-7, batch 24, cosine: the rates sum to 2.1e-5."""
    return b.found_in_recipe(b.recipe("dpo", "method.beta=0.05", "optim.lr=2e-7", "train.batch=24"), 5000)


def rate_100_times_too_high():
    return b.found_in_recipe(b.recipe("dpo", "optim.lr=2e-4"))


def alpha_of_a_tenth():
    settings = ("method.alpha=0.1", "method.beta=0.05", "method.allow_large_alpha=true")
    return b.found_in_recipe(b.recipe("xpo_offline", *settings))


def ipo_out_of_reach():
    return b.found_in_recipe(b.recipe("ipo", "method.tau=0.01"))


def rloo_with_kl_sign_wrong():
    rloo = methods.get("rloo")

    def loss(x: GroupLogps, cfg):
        return rloo.loss(replace(x, ref=2 * x.old - x.ref), cfg)  # log pi - log ref turned round

    own = SimpleNamespace(name="rloo", loss=loss, Input=GroupLogps)
    return b.found_in_recipe(
        b.recipe("rloo", "method.beta=0.03", reward=[{"function": "countdown"}]), own=own
    )


def loss_that_prefers_the_rejected():
    dpo = methods.get("dpo")

    def loss(x, cfg):
        return dpo.loss(replace(x, policy_chosen=x.policy_rejected, policy_rejected=x.policy_chosen), cfg)

    return b.found_in_recipe(b.recipe("dpo"), own=SimpleNamespace(name="dpo", loss=loss, Input=dpo.Input))


# Rewards ------------------------------------------------------------------------------------------------

PROMPTS = [
    Prompt([{"role": "user", "content": f"Make {i}. Example: <answer> 1 + 2 </answer>"}], f"p-{i}")
    for i in range(8)
]


def judged(function):
    """A reward that scores with `function(prompt, completion)`, both as text."""

    def rewards(prompts, completions):
        texts = ["".join(m["content"] for m in p.prompt) for p in prompts]
        total = [function(p, c) for p, c in zip(texts, completions, strict=True)]
        return Rewards(total, {"mine": total}, [])

    return b.found_in_rewards(rewards, PROMPTS)


def constant_reward():
    return judged(lambda prompt, completion: 1.0)


def reward_of_the_prompt():
    return judged(lambda prompt, completion: 0.1 if "<answer>" in prompt + completion else 0.0)


# While it runs ------------------------------------------------------------------------------------------


def held_out_backwards():
    return b.found_live(b.log(accuracy=lambda t: 0.5 + 0.4 * t, held_accuracy=lambda t: 0.5 - 0.3 * t))


def held_out_coin_toss():
    return b.found_live(b.log(accuracy=lambda t: min(1, 0.5 + t), held_accuracy=lambda t: 0.5))


def nothing_learnt():
    return b.found_live(
        b.log(accuracy=lambda t: 0.51, held_accuracy=lambda t: 0.51, lr_sum=lambda t: 2e-5 * t)
    )


def nan_loss():
    return b.found_live(b.log(loss=lambda t: math.nan if t > 0.5 else 0.6))


def spike():
    return b.found_live(b.log(grad_norm=lambda t: 80.0 if t == 0.6 else 1.0))


def equal_rewards():
    return b.found_live(b.log(reward=lambda t: 0.1, zero_variance=lambda t: 1.0))


def format_only():
    return b.found_live(
        b.log(
            reward=lambda t: 0.1 + 0.6 * t,
            reward_format=lambda t: 0.2 + 0.7 * t,
            reward_correct=lambda t: 0.1,
        )
    )


def chosen_falls():
    return b.found_live(
        b.log(
            accuracy=lambda t: 0.5 + 0.2 * t,
            held_accuracy=lambda t: 0.55 + 0.15 * t,
            held_margin=lambda t: 12 * t,
            held_chosen_logratio=lambda t: -60 * t,
        )
    )


def samples_alike():
    return b.found_live(b.log(logp_per_token=lambda t: -1.2 * (1 - t) - 0.01, reward=lambda t: 0.3))


def ever_longer():
    return b.found_live(b.log(sampled_len=lambda t: 40 + 200 * t))


def endless():
    return b.found_live(b.log(loss=lambda t: 0.6, held_stopped_share=lambda t: 0.99 - 0.6 * t))


FAULTS = {
    "20 % of labels swapped": (lambda: some_swapped(0.2), "labels-noisy"),
    "50 % of labels swapped": (lambda: some_swapped(0.5), "labels-random"),
    "100 % of labels swapped": (lambda: some_swapped(1.0), "labels-swapped"),
    "identical pairs": (identical, "identical-pairs"),
    "near-identical pairs": (near_identical, "near-identical-pairs"),
    "length-leaking pairs": (length_leak, "length-leak"),
    "train/eval leak": (train_eval_leak, "train-eval-overlap"),
    "shuffled prompt and response": (shuffled, "prompts-shuffled"),
    "NaN row": (nan_row, "scores-not-finite"),
    "contradicting pairs": (contradictions, "conflicting-labels"),
    "template applied twice": (applied_template, "template-in-text"),
    "wrong encoding": (damaged, "encoding-damage"),
    "refusals on one side": (refusals, "boilerplate"),
    "full mask": (full_mask, "all-masked"),
    "missing EOS": (missing_eos, "eos-missing"),
    "pad = eos masking": (pad_is_eos, "pad-masks-eos"),
    "EOS not scored": (eos_unscored, "eos-not-scored"),
    "double BOS": (double_bos, "double-bos"),
    "wrong padding side": (left_padding, "padding-in-rows"),
    "wrong template at evaluation": (wrong_template_at_evaluation, "template-mismatch"),
    "truncation of the chosen side": (chosen_cut, "chosen-truncated"),
    "bf16 parameters at 2e-7": (bf16_at_2e7, "half-precision-parameters"),
    "frozen parameters": (frozen, "frozen-parameters"),
    "end of turn does not stop": (runs_on, "end-of-turn-does-not-stop"),
    "untied weights": (untied, "untied-weights"),
    "reference not equal to the policy": (other_reference, "reference-not-policy"),
    "dropout in the reference": (dropout_in_reference, "dropout-in-reference"),
    "dropout in training": (dropout_in_training, "dropout-in-training"),
    "NaN weights": (nan_weights, "logps-not-finite"),
    "learning-rate budget 2e-5": (small_budget, "learning-rate-budget"),
    "learning rate 100 times too high": (rate_100_times_too_high, "learning-rate-too-high"),
    "alpha 0.1": (alpha_of_a_tenth, "alpha-dominates"),
    "IPO target of 50 nats": (ipo_out_of_reach, "ipo-target"),
    "KL sign": (rloo_with_kl_sign_wrong, "kl-sign"),
    "loss prefers the rejected": (loss_that_prefers_the_rejected, "gradient-direction"),
    "constant reward": (constant_reward, "reward-constant"),
    "reward that reads the prompt": (reward_of_the_prompt, "reward-reads-prompt"),
    "held-out labels swapped": (held_out_backwards, "labels-reversed"),
    "labels without a rule": (held_out_coin_toss, "memorizing"),
    "run without effect": (nothing_learnt, "not-learning"),
    "NaN loss": (nan_loss, "not-finite"),
    "gradient spike": (spike, "gradient-spike"),
    "equal rewards in a run": (equal_rewards, "reward-constant-live"),
    "format without accuracy": (format_only, "reward-hacking"),
    "likelihood displacement": (chosen_falls, "likelihood-displacement"),
    "entropy collapse": (samples_alike, "entropy-collapse"),
    "length drift": (ever_longer, "length-drift"),
    "answers that do not stop": (endless, "stops-failing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_finding_names_the_fault(fault):
    plant, name = FAULTS[fault]
    found = plant()
    assert found, "nothing was found"
    assert found[0].name == name, [str(f) for f in found]


def test_healthy_material_has_no_finding_of_weight():
    """What the faults are planted in is healthy, or the tests above would show nothing."""
    tiny = tiny_model()
    healthy = [
        *b.found_in_data(b.pairs()),
        *b.found_in_tokens(b.facts_of(b.rows())),
        *b.found_in_model(b.wired()),
        *b.found_at_start(tiny, LiveReference(tiny, 10_000), random_rows(6, 2)),
        *b.found_in_recipe(b.recipe("dpo")),
        *b.found_in_recipe(b.recipe("ipo")),
        *judged(lambda prompt, completion: float("7" in completion) + 0.1 * float("<answer>" in completion)),
        *b.found_live(
            b.log(
                accuracy=lambda t: 0.5 + 0.25 * t,
                held_accuracy=lambda t: 0.5 + 0.2 * t**0.5,
                held_margin=lambda t: 4 * t,
                held_chosen_logratio=lambda t: -1 * t,
                grad_norm=lambda t: 1.0 + 0.1 * math.sin(50 * t),
            )
        ),
    ]
    assert [str(f) for f in healthy if f.severity != "note"] == []


@pytest.mark.parametrize(
    ("family", "severity"), [("GPT-2", "error"), ("OPT", "error"), ("MPT: ALiBi", "error"), ("Llama", "note")]
)
def test_a_table_of_positions_ends(family, severity):
    """At most 256 positions, rows of up to 4,096 tokens: rotary ones go on, tables raise an IndexError."""
    policy = AutoModelForCausalLM.from_config(config_of(family))
    tokenizer = tiny_tokenizer()
    wiring = Wiring(policy, tokenizer, end_of_turn(tokenizer), b.recipe("dpo", "data.max_length=4096"))
    assert beyond_context(wiring).severity == severity
    assert beyond_context(replace(wiring, recipe=b.recipe("dpo", "data.max_length=128"))) is None
