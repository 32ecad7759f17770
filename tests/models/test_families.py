"""Families of models: the numbers of plain transformers, or one sentence.

Truth is a forward of transformers over one sequence at a time, and its `generate`. The models are saved and
loaded first, so that loading is tested on every family's own names of weights.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf

from boresight.core.errors import UserError
from boresight.models.checkpoint.leftovers import Allowed
from boresight.models.checkpoint.silence_hf import quiet_bars, quiet_warnings
from boresight.models.checkpoint.skeleton import whole_skeleton
from boresight.models.load import load_model
from boresight.models.packed.logprobs import completion_logprobs, completion_token_logprobs
from boresight.models.sampler.params import SamplingParams
from boresight.models.sampler.sample import sample
from boresight.models.source import ModelSource
from tests.models.families import FAMILIES, REFUSED, config_of
from tests.models.tiny_decoders import VOCABULARY, make_row

TOKENS = 8
"""Sampled per prompt."""


def ids(count, seed):
    return np.random.default_rng(seed).integers(3, VOCABULARY, count)


ROWS = [
    make_row(ids(p, s), ids(c, s + 10), ids(c + 4, s + 20))
    for s, (p, c) in enumerate([(9, 4), (25, 9), (12, 7)])
]
PROMPTS = [row.prompt for row in ROWS]
WEIGHTS = torch.arange(1.0, 7).view(3, 2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The model of a family as it is loaded, built and saved once."""
    made = {}

    def of(family):
        if family not in made:
            folder = tmp_path_factory.mktemp("family")
            torch.manual_seed(0)
            with quiet_bars(), quiet_warnings():
                hf.AutoModelForCausalLM.from_config(config_of(family)).save_pretrained(folder)
            made[family] = load_model(str(folder), device="cpu"), folder
        return made[family]

    return of


def plain(model, rows):
    """Summed log-probabilities of every completion, `(rows, k)`, by one forward for each."""
    sums = []
    for row in rows:
        for completion in row.completions:
            sequence = torch.tensor(np.concatenate([row.prompt, completion.ids]).astype(np.int64))
            logps = model(input_ids=sequence[None], use_cache=False).logits[0, :-1].log_softmax(-1)
            sums.append(logps.gather(-1, sequence[1:, None])[len(row.prompt) - 1 :].sum())
    return torch.stack(sums).view(len(rows), -1)


def gradients(model, sums):
    model.zero_grad(set_to_none=True)
    (sums * WEIGHTS).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_and_its_headers_agree_that_nothing_is_left_over(family, models):
    _, folder = models(family)
    allowed = Allowed()
    whole_skeleton(ModelSource(str(folder), cached_only=True), family, "lm", allowed)
    assert not allowed.found


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_and_gradients_are_those_of_plain_forwards(family, models):
    model, _ = models(family)
    true = plain(model, ROWS)
    expected = gradients(model, true)
    found = completion_logprobs(model, ROWS).sums
    got = gradients(model, found)
    torch.testing.assert_close(found, true, rtol=1e-5, atol=1e-4)
    assert got.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(float(gradient.abs().max()), 1e-3 * largest)
        assert (got[name] - gradient).abs().max() <= 1e-3 * scale, name


@pytest.mark.parametrize("family", FAMILIES)
def test_without_dropout_training_mode_computes_the_same(family, models):
    """Methods with a reference need it: the policy is trained in one mode and compared in the other."""
    model, folder = models(family)
    with torch.no_grad():
        expected = completion_logprobs(model, ROWS).sums
        found = completion_logprobs(load_model(str(folder), device="cpu", dropout=0.0).train(), ROWS).sums
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_samples_are_those_of_generate(family, models):
    model, _ = models(family)
    greedy = sample(model, PROMPTS, SamplingParams(max_new_tokens=TOKENS, temperature=0, seed=0))
    for prompt, (found,) in zip(PROMPTS, greedy, strict=True):
        given = torch.tensor(prompt.astype(np.int64))[None]
        theirs = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=False,
            max_new_tokens=TOKENS,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert found.ids.tolist() == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_carry_the_log_probabilities_of_the_training_forward(family, models):
    model, _ = models(family)
    drawn = sample(model, PROMPTS, SamplingParams(max_new_tokens=TOKENS, seed=0), 2)
    rows = [make_row(row.prompt, *(one.ids for one in group)) for row, group in zip(ROWS, drawn, strict=True)]
    scored = completion_token_logprobs(model, rows)
    for group, expected in zip(drawn, scored, strict=True):
        for one, logps in zip(group, expected, strict=True):
            np.testing.assert_allclose(one.logps, logps.numpy(), atol=5e-4)


@pytest.mark.parametrize("family", REFUSED)
def test_other_families_are_refused_in_one_sentence(family, tmp_path):
    name, sizes, said = REFUSED[family]
    config = getattr(hf, f"{name}Config")(**sizes)
    kind = getattr(
        hf, {"T5": "T5ForConditionalGeneration", "Bert": "BertLMHeadModel"}.get(name, f"{name}LMHeadModel")
    )
    with quiet_bars(), quiet_warnings():
        kind(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=said) as refusal:
        load_model(str(tmp_path), device="cpu")
    assert "\n" not in str(refusal.value)
