"""A tokenizer with more tokens than the model has embeddings, texts longer than its table of positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from transformers import AutoModelForCausalLM

from boresight.core.errors import UserError
from boresight.models.limits import position_table
from boresight.models.packed.logprobs import completion_logprobs, completion_token_logprobs
from boresight.models.policy import longest_sequence
from boresight.models.reward import completion_scores
from boresight.models.sampler.params import SamplingParams
from boresight.models.sampler.sample import sample, sample_plain
from boresight.models.sampler.stream import stream
from tests.models.families import FAMILIES, config_of
from tests.models.tiny_decoders import GROUPED, SHAPE, VOCABULARY, build, make_row

TABLES = ("GPT-2", "GPT-J", "OPT", "MPT: ALiBi")
BEYOND = r"index (12 is )?out of (range|bounds)|tensor a \(13\) must match the size of tensor b \(12\)"
"""Message of torch for a position beyond a table of 12."""


def test_a_token_without_an_embedding_is_one_sentence():
    """Whichever function meets it: on a GPU the lookup would end the whole process."""
    model, row = build(hf.LlamaConfig(**GROUPED)), make_row(np.array([3, VOCABULARY]), [4, 5])
    said = f"contains the token {VOCABULARY}, and the model has embeddings for {VOCABULARY} tokens"
    params = SamplingParams(max_new_tokens=2, seed=0)
    for meet in (
        lambda: completion_logprobs(model, [row]),
        lambda: completion_logprobs(model, [make_row(np.array([3]), [VOCABULARY])]),
        lambda: completion_token_logprobs(model, [row]),
        lambda: completion_scores(model, [row]),
        lambda: sample(model, [row.prompt], params),
        lambda: stream(model, row.prompt, params, lambda ids: None),
    ):
        with pytest.raises(UserError, match=said):
            meet()


def tabled(family):
    """A model of the family with a table of 12 positions."""
    config = config_of(family)
    setattr(config, "max_seq_len" if family.startswith("MPT") else "max_position_embeddings", 12)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_only_models_with_a_table_of_positions_have_an_end(family):
    ends = position_table(AutoModelForCausalLM.from_config(config_of(family)))
    assert ends == (256 if family in TABLES else None)


def test_a_table_that_begins_after_the_padding_is_shorter():
    sizes = SHAPE | {"max_position_embeddings": 12, "pad_token_id": 1, "is_decoder": True}
    config = hf.RobertaConfig(**sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert position_table(model) == 10
    with torch.no_grad():
        model(input_ids=torch.arange(3, 13)[None], use_cache=False)
        with pytest.raises((IndexError, RuntimeError), match=BEYOND):
            model(input_ids=torch.arange(3, 14)[None], use_cache=False)


@pytest.mark.parametrize("family", TABLES)
def test_transformers_runs_the_whole_table_and_not_one_token_more(family):
    model, ids = tabled(family), torch.arange(3, 16)[None]
    assert longest_sequence(model) == position_table(model) == 12
    with torch.no_grad():
        model(input_ids=ids[:, :12], use_cache=False)
        with pytest.raises((IndexError, RuntimeError), match=BEYOND):
            model(input_ids=ids, use_cache=False)


@pytest.mark.parametrize("family", TABLES)
def test_an_answer_ends_with_the_table_as_cut(family):
    """Both samplers, with what a roomier limit would have drawn up to there."""
    model = tabled(family)
    prompts = [np.arange(3, 3 + length) for length in (5, 11)]
    params = SamplingParams(max_new_tokens=40, seed=0)
    for drawn in (sample(model, prompts, params, 2), sample_plain(model, prompts, params, 2)):
        assert [[(len(s.ids), s.finish) for s in group] for group in drawn] == [
            [(7, "length")] * 2,
            [(1, "length")] * 2,
        ]
    shorter = sample(model, prompts[:1], SamplingParams(max_new_tokens=7, seed=0), 2)
    assert [s.ids.tolist() for s in shorter[0]] == [s.ids.tolist() for s in drawn[0]]
    (streamed,) = [stream(model, prompts[0], params, lambda ids: None)]
    assert streamed.ids.tolist() == drawn[0][0].ids.tolist()


@pytest.mark.parametrize("family", TABLES)
def test_what_does_not_fit_into_the_table_is_one_sentence(family):
    model, params = tabled(family), SamplingParams(max_new_tokens=2, seed=0)
    for tokens, said in ((13, "has 13 tokens, and the model's table of positions ends at 12"), (12, "fill")):
        for draw in (
            lambda ids: sample(model, [np.arange(3), ids], params),
            lambda ids: sample_plain(model, [np.arange(3), ids], params),
            lambda ids: stream(model, ids, params, lambda seen: None),
        ):
            with pytest.raises(UserError, match=said):
                draw(np.arange(3, 3 + tokens))
    row = make_row(np.arange(3, 12), [4, 5, 6, 7])
    for score in (completion_logprobs, completion_token_logprobs):
        with pytest.raises(UserError, match="has 13 tokens"):
            score(model, [row])
