"""Write an untrained Llama and its tokenizer to a folder, as for the tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boresight.models.checkpoint.silence_hf import quiet_bars

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast


def save_random_llama(
    config: LlamaConfig, tokenizer: PreTrainedTokenizerFast, folder: Path, seed: int = 0
) -> None:
    """Write weights initialized from `seed`, config, generation config and tokenizer to `folder`.

    The global random state does not change.
    """
    import torch
    from transformers import GenerationConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # leaves the generators of GPUs unchanged
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    with quiet_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
