"""A tokenizer with more tokens than the model has embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import transformers as hf

from boresight.core.errors import UserError
from boresight.models.packed.logprobs import completion_logprobs, completion_token_logprobs
from boresight.models.reward import completion_scores
from boresight.models.sampler.params import SamplingParams
from boresight.models.sampler.sample import sample
from boresight.models.sampler.stream import stream
from tests.models.tiny_decoders import GROUPED, VOCABULARY, build, make_row


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
