"""Models and adapters on disk, changes to their files, and what refuses them."""

from __future__ import annotations

import json

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from boresight.core.errors import UserError
from boresight.models.checkpoint.leftovers import Allowed
from boresight.models.checkpoint.skeleton import whole_skeleton
from boresight.models.load import load_model
from boresight.models.reward import load_reward_model
from boresight.models.source import locate
from tests.tiny import tiny_model


def rewrite(folder, change, file="model.safetensors"):
    """Save what `change` makes of the weights in `folder`."""
    save_file(change(load_file(folder / file)), folder / file, {"format": "pt"})


def configure(folder, file="config.json", **settings):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def refusals(folder, head="lm", allowed=()):
    """What loading says, and what the headers say, with the weights that were accepted."""
    load = load_model if head == "lm" else load_reward_model
    attempts = (
        lambda a: load(str(folder), allowed=a),
        lambda a: whole_skeleton(locate(str(folder)), str(folder), head, a),
    )
    said = []
    for attempt in attempts:
        accepted = Allowed(tuple(allowed))
        try:
            attempt(accepted)
            said.append(accepted.found)
        except UserError as error:
            said.append(str(error))
    return said


def refused(folder, head="lm"):
    """The one sentence that loading and the headers agree on."""
    loading, headers = refusals(folder, head)
    assert loading == headers
    assert isinstance(loading, str), "it was loaded"
    assert "\n" not in loading
    return loading


def adapter(base, folder, change=None, new_tokens=0, **settings):
    """Save a LoRA adapter of random weights on `base`; returns the adapted model."""
    model = tiny_model(tie_word_embeddings=False)
    if new_tokens:
        model.resize_token_embeddings(320 + new_tokens, mean_resizing=False)
    settings = {"r": 4, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"]} | settings
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    adapted.save_pretrained(folder, save_embedding_layers=bool(new_tokens))
    configure(folder, "adapter_config.json", base_model_name_or_path=str(base))
    if change:
        rewrite(folder, change, "adapter_model.safetensors")
    return adapted.eval()
