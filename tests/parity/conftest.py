"""A tiny model, a tiny tokenizer and a few rows that TRL and boresight both see, token for token."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from boresight.data.rows import Completion, Row

WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Whitespace words, and an end token that is not the padding token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="right"
    )


@pytest.fixture(scope="session")
def make_model(tokenizer: Any) -> Callable[..., Any]:
    """A random decoder in float32, the same for the same seed; wide weights, so log-ratios are whole nats."""
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    def make(seed: int, *, scores: bool = False) -> Any:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, num_labels=1,
            initializer_range=0.3, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        )  # fmt: skip
        return (LlamaForSequenceClassification if scores else LlamaForCausalLM)(config).eval()

    return make


@pytest.fixture(scope="session")
def pairs() -> list[dict[str, str]]:
    """Six preference pairs of unequal lengths."""
    rng = random.Random(0)

    def text(low: int, high: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))

    return [{"prompt": text(3, 9), "chosen": text(1, 12), "rejected": text(1, 12)} for _ in range(6)]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Trainer arguments that keep TRL on the CPU, in float32, and silent."""
    return {
        "output_dir": str(tmp_path_factory.mktemp("trl")),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


@pytest.fixture(scope="session")
def make_row() -> Callable[..., Row]:
    """Token ids as TRL made them become a row; every answer token is scored."""

    def make(prompt: list[int], *answers: list[int]) -> Row:
        scored = (Completion(np.array(a, dtype=np.int32), np.ones(len(a), dtype=bool)) for a in answers)
        return Row(id="", prompt=np.array(prompt, dtype=np.int32), completions=tuple(scored))

    return make


@pytest.fixture(scope="session")
def gradients() -> Callable[..., torch.Tensor]:
    """All gradients of a loss as one vector; the model's own are cleared first."""

    def flat(model: Any, loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    return flat
