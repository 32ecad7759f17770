"""llama.cpp itself loads the exported files: the same tokens, logits, stop token, and K-quantizations.

Needs the package llama-cpp-python, which is compiled when it is installed; skipped without it.
"""

import numpy as np
import pytest
import torch

from boresight.data.rendering.template import render_messages
from boresight.data.stop_tokens import end_of_turn
from boresight.export.command import export
from boresight.export.gguf import llama_cpp as quantizing
from boresight.models.load import load_model, load_tokenizer
from tests.export.gguf_runs import FILES, QUIET

reader = pytest.importorskip("tests.export.llama_cpp_reader", reason="llama-cpp-python is not installed")

TEXTS = (
    "In 2024 it's 3.14 km, naïve café — don't!",
    "  two spaces\n\n\ttab, 'LL 'll 1234567 ½ ²",
    "汉字 и кириллица 😀👍🏽 x²+y²",
)


def conversation(question):
    return [{"role": "user", "content": question}]


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_llama_cpp_reads_the_same_tokens_template_and_stop_token(exported, run_of, arch):
    folder, _ = exported(arch)
    tokenizer = load_tokenizer(str(run_of(arch)))
    with reader.LlamaCppFile(folder / f"{arch}-f16.gguf") as file:
        assert file.chat_template == tokenizer.get_chat_template()
        for text in (*TEXTS, *(render_messages(tokenizer, conversation(text), ask=True) for text in TEXTS)):
            ours = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
            assert file.tokens(text) == ours, text
        ending = {token for token in range(file.size) if file.ends(token)}
    assert end_of_turn(tokenizer).id in ending
    assert ending == set(load_model(str(run_of(arch))).generation_config.eos_token_id)


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_llama_cpp_computes_the_runs_distribution(exported, run_of, arch):
    """KL(run || file) is that of rounding, and grows with it: a permuted head or another rope base is not."""
    folder, _ = exported(arch)
    model, tokenizer = load_model(str(run_of(arch))), load_tokenizer(str(run_of(arch)))
    ids = tokenizer.backend_tokenizer.encode(TEXTS[0] * 2, add_special_tokens=False).ids[:60]
    with torch.inference_mode():
        ours = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    found = []
    for name in FILES:
        with reader.LlamaCppFile(folder / f"{arch}-{name}.gguf") as file:
            theirs = torch.from_numpy(file.logits(ids)).double().log_softmax(-1)
        found.append(float((ours.exp() * (ours - theirs)).sum(-1).mean()))
    f16, q8, q4 = found
    assert 0 <= f16 < 1e-5 < 1e-3 > q8
    assert f16 < q8 < q4 < 0.1


def test_the_greedy_answer_is_the_runs(exported, run_of):
    folder, _ = exported("llama")
    model, tokenizer = load_model(str(run_of("llama"))), load_tokenizer(str(run_of("llama")))
    prompt = render_messages(tokenizer, conversation("say 3"), ask=True)
    ids = tokenizer.backend_tokenizer.encode(prompt, add_special_tokens=False).ids
    with reader.LlamaCppFile(folder / "llama-f16.gguf") as file:
        answer = file.greedy(ids, 8)
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1].numpy()
    assert np.array_equal(logits.argmax(-1), answer)


@pytest.mark.skipif(not quantizing.is_installed("llama_cpp"), reason="llama-cpp-python is not installed")
def test_k_quantizations_by_llama_cpp_read_back_as_the_run(run_of, tmp_path):
    export(run_of("llama"), tmp_path / "out", "merged", "float32", QUIET, "q4_k_m,q6_k")
    for name in ("q4_k_m", "q6_k"):
        with reader.LlamaCppFile(tmp_path / "out" / f"out-{name}.gguf") as file:
            assert file.logits(file.tokens("green")).shape[1] == file.size
