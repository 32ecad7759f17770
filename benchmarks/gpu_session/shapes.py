"""Write a model of a published shape with random weights: no weights travel to the machine of a session.

python -m gpu_session.shapes qwen2.5-0.5b FOLDER
python -m gpu_session.shapes starter FOLDER --kit build/gpu-kit    # with its tokenizer, which does travel
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from preference.cases import QWEN
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen2Config

from boresight.models.checkpoint.silence_hf import quiet_bars
from gpu_session import options

NARROW = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
TINY = {**NARROW, **HEADS, "vocab_size": 49152}
"""As few numbers as the starter's tokenizer allows."""


def main() -> None:
    args = arguments()
    config = config_of(args.shape, args.kit, args.tiny)
    model = random_model(config, args.device)
    with quiet_bars():
        model.to("cpu").save_pretrained(args.folder)
    if args.shape == "starter":
        for path in (args.kit / "starter").iterdir():
            if path.name != "config.json":
                shutil.copy(path, args.folder)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{args.shape}{', tiny' if args.tiny else ''}: {millions:,.1f}M parameters in {args.folder}")


def arguments() -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("shape", choices=["qwen2.5-0.5b", "starter"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kit", type=Path, default=Path("build/gpu-kit"))
    return parser.parse_args()


def config_of(shape: str, kit: Path | None = None, tiny: bool = False) -> Any:
    """Config of a shape; of the starter from its own file in the kit."""
    if shape == "starter":
        config = AutoConfig.from_pretrained(kit / "starter")
        config.update(NARROW | HEADS if tiny else {})
        return config
    if shape == "llama-3.1-8b":
        return LlamaConfig(**(LLAMA_8B | (TINY | {"vocab_size": 1024} if tiny else {})))
    return Qwen2Config(**(QWEN | (TINY if tiny else {})))


LLAMA_8B = {  # Llama-3.1-8B's config.json, shapes only
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def random_model(config: Any, device: str, dtype: torch.dtype = torch.float32) -> Any:
    """A model with weights drawn on the device by seed 0, in evaluation mode."""
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


if __name__ == "__main__":
    main()
