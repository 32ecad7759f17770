"""An untrained Llama and its tokenizer, written to a folder: the start of the tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boresight.models.checkpoint.silence_hf import quiet_bars

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast


def save_random_llama(
    config: LlamaConfig, tokenizer: PreTrainedTokenizerFast, folder: Path, seed: int = 0
) -> None:
    """Write weights drawn with `seed`, config, generation config and tokenizer. No global seed changes."""
    import torch
    from transformers import GenerationConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and no GPU's
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    with quiet_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
