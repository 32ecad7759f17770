"""GGUF files hold the run's model: weights, tokenizer, template and stop tokens, read back by others."""

import json
import re

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.export.command import export
from boresight.export.gguf import architecture, llama_cpp, vocabulary
from boresight.export.gguf.architecture import refuse_unsupported
from boresight.export.gguf.compare import mean_kl
from boresight.export.gguf.modelfile import find_turns, render_modelfile
from boresight.export.gguf.quantization import parse_quantizations
from boresight.export.gguf.vocabulary import pre_tokenizer_name
from boresight.models.checkpoint.gguf import read_gguf_model
from boresight.models.load import load_model
from tests.export.gguf_runs import FILES, QUIET, READS_LLAMA, tokenizer_of
from tests.tiny import TEMPLATES, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_files_read_back_as_the_run(exported, run_of, arch):
    folder, _ = exported(arch)
    ours = load_model(str(run_of(arch))).state_dict()
    for name, error in zip(FILES, (1e-3, 0.02, 0.2), strict=True):
        theirs = read_gguf_model(folder / f"{arch}-{name}.gguf")
        for key, value in theirs.state_dict().items():
            assert (value - ours[key]).norm() <= error * ours[key].norm(), (name, key)
        assert theirs.config.rope_parameters["rope_theta"] == 500.0
    names = ["Modelfile", "README.md", *(f"{arch}-{name}.gguf" for name in FILES)]
    assert sorted(file.name for file in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_divergence_grows_with_rounding_and_is_printed_and_in_the_card(exported, arch):
    folder, printed = exported(arch)
    found = [float(kl) for kl in re.findall(r"KL from the run's model (\S+) nats per token", printed)]
    assert len(found) == 3 and found == sorted(found) and found[0] < 1e-8 < found[2] < 0.1
    card = (folder / "README.md").read_text()
    for name, kl in zip(FILES, found, strict=True):
        line = next(line for line in card.split("\n") if line.startswith(f"| `{arch}-{name}.gguf` |"))
        assert f"{kl:.2g} [" in line
    assert "library_name: gguf" in card and f"llama-server -m PATH/{arch}-" in card


def test_each_stage_has_its_line(exported):
    _, printed = exported("llama")
    stages = [line for line in printed.splitlines() if line.endswith("…")]
    assert stages[:2] == ["loading the run's model …", "comparing with the start model on 4 answers …"]
    assert stages[2:5] == [
        "writing llama-f16.gguf …",
        "reading llama-f16.gguf back …",
        "comparing llama-f16.gguf with the run's model on 4 answers …",
    ]
    assert len(stages) == 2 + 3 * len(FILES)
    assert printed.count("from the start model on the same tokens.") == len(FILES)


def test_each_file_answers_the_evaluation_prompts_beside_the_run(exported):
    """float16 answers as the run does, so its checks are equal and the difference is 0."""
    folder, printed = exported("llama")
    lines = (folder / "README.md").read_text().split("\n")
    rows = [line.split("|") for line in lines if "answers that meet the constraint" in line]
    rows = [[cell.strip() for cell in row] for row in rows if row[1].strip().endswith(".gguf`")]
    assert [row[1] for row in rows] == [f"`llama-{name}.gguf`" for name in FILES]
    _, _, _, before, after, difference, n, _ = rows[0]
    assert before == after and difference.startswith("0.0") and n == "3"
    assert f"answers that meet the constraint: {after}, of the run's model {before}." in printed


def test_the_tokenizer_survives(exported, run_of):
    from gguf import GGUFReader, TokenType
    from transformers import AutoTokenizer

    folder, _ = exported("llama")
    fields = GGUFReader(folder / "llama-q8_0.gguf").fields
    found = {name.removeprefix("tokenizer."): field.contents() for name, field in fields.items()}
    ours = AutoTokenizer.from_pretrained(run_of("llama") / "model")
    backend = json.loads(ours.backend_tokenizer.to_str())
    assert found["ggml.tokens"][: len(ours)] == ours.convert_ids_to_tokens(range(len(ours)))
    assert found["ggml.merges"] == [" ".join(pair) for pair in backend["model"]["merges"]]
    assert (found["ggml.model"], found["ggml.pre"]) == ("gpt2", "smollm")
    end = ours.convert_tokens_to_ids("<|im_end|>")
    assert found["ggml.eos_token_id"] == found["ggml.eot_token_id"] == end
    assert found["ggml.token_type"][end] == TokenType.CONTROL
    assert found["ggml.token_type"][5] == TokenType.NORMAL
    assert found["chat_template"] == ours.chat_template and found["ggml.add_bos_token"] is False
    assert len(found["ggml.tokens"]) == 320  # the model's embeddings, of which the tokenizer uses fewer
    assert set(found["ggml.token_type"][len(ours) :]) <= {TokenType.UNUSED}


def test_queries_and_keys_lie_as_llama_cpp_rotates_them():
    """By hand: a head of 4 rows (a, b | c, d) lies as a, c, b, d."""
    rows = np.arange(8)[:, None] * np.ones((1, 3))
    assert architecture._interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


FAULTS = {
    "q_proj.weight differs": (architecture, "_interleaved", lambda weight, heads: weight),
    "rope_theta is 9": ("add_rope_freq_base", lambda self, _: self.add_float32("llama.rope.freq_base", 9.0)),
    "as other tokens": (
        "add_token_merges",
        lambda self, merges: self.add_array("tokenizer.ggml.merges", merges[:1]),
    ),
    "template is another": (
        "add_chat_template",
        lambda self, _: self.add_string("tokenizer.chat_template", "x"),
    ),
}


@pytest.mark.skipif(not READS_LLAMA, reason="this transformers reads no such tokenizer")
@pytest.mark.parametrize("reason", FAULTS)
def test_a_file_that_reads_back_otherwise_is_not_exported(run_of, tmp_path, monkeypatch, reason):
    from gguf import GGUFWriter

    fault = FAULTS[reason]
    monkeypatch.setattr(*(fault if len(fault) == 3 else (GGUFWriter, *fault)))
    with pytest.raises(UserError, match=f"would not be the run's model.*{reason}"):
        export(run_of("llama"), tmp_path / "out", "merged", "float32", QUIET, "f16")
    assert list(tmp_path.iterdir()) == []


def ollama(modelfile, messages):
    """What Ollama renders, by a reader of the template's branches."""
    template = re.search(r'TEMPLATE """(.*?)"""', modelfile, re.DOTALL)[1]
    whole = r"\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)"
    body, ask = re.fullmatch(whole, template, re.DOTALL).groups()
    branch = r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}(.*?)\{\{ \.Content \}\}([^{]*)'
    around = {role: (before, after) for role, before, after in re.findall(branch, body, re.DOTALL)}
    system = re.search(r'SYSTEM """(.*?)"""', modelfile, re.DOTALL)
    if system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system[1]}, *messages]
    return "".join(m["content"].join(around[m["role"]]) for m in messages) + ask


@pytest.mark.parametrize("template", ["chatml", "llama3"])
def test_the_modelfile_writes_what_the_chat_template_writes(template):
    tokenizer = tokenizer_of("smollm", template)
    text = render_modelfile("a-q8_0.gguf", find_turns(tokenizer), ["<|im_end|>", "<|endoftext|>"])
    lines = text.split("\n")
    assert lines[1] == "FROM ./a-q8_0.gguf"
    assert [line for line in lines if line.startswith("PARAMETER")] == [
        'PARAMETER stop "<|im_end|>"',
        'PARAMETER stop "<|endoftext|>"',
    ]
    roles = ["system", "user", "assistant", "user"]
    talk = [{"role": role, "content": f"words of {i}"} for i, role in enumerate(roles)]
    for messages in (talk, talk[1:], talk[1:2], talk[:2]):
        expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        bos = tokenizer.bos_token or ""  # which llama.cpp writes, as add_bos_token says
        assert ollama(text, messages) == expected.removeprefix(bos)


def test_a_bos_that_opens_every_turn_is_written_by_the_template():
    """SmolLM2's BOS is ChatML's `<|im_start|>`: llama.cpp must not add one more, and no role may lack it."""
    tokenizer = tokenizer_of("smollm", "chatml")
    tokenizer.bos_token = "<|im_start|>"
    turns = find_turns(tokenizer)
    assert vocabulary.opening_bos(tokenizer) == ""
    assert turns.before == {role: f"<|im_start|>{role}\n" for role in ("system", "user", "assistant")}
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = "<|endoftext|>" + tokenizer.chat_template
    assert vocabulary.opening_bos(tokenizer) == "<|endoftext|>"


@pytest.mark.parametrize("template", ["qwen3", "gemma"])
def test_a_template_beyond_markers_is_left_out(template):
    """Qwen3's writes thoughts in the last turn only; Gemma's has no system role and other role names."""
    assert find_turns(tokenizer_of("smollm", template)) is None
    assert "TEMPLATE" not in render_modelfile("a.gguf", None, [])


def test_text_of_the_model_cannot_write_lines_of_the_modelfile():
    tokenizer = tokenizer_of("smollm")
    tokenizer.chat_template = TEMPLATES["chatml"].replace("Be kind.", 'Be kind."""\nADAPTER ./evil')
    assert find_turns(tokenizer) is None
    with pytest.raises(UserError, match="cannot be written into a Modelfile"):
        render_modelfile("a.gguf", None, ['<|end|>"\nADAPTER ./evil'])


def test_what_gguf_cannot_say_is_refused():
    scaled = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    for model, reason in (
        (tiny_model("gpt_neox"), "models of type 'gpt_neox' are not supported"),
        (tiny_model(rope_parameters=scaled), "rotary embeddings of type 'linear'"),
        (tiny_model(attention_bias=True), "biases"),
        (tiny_model(hidden_act="gelu"), "activation 'gelu'"),
        (
            tiny_model("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=0),
            "sliding-window",
        ),
    ):
        with pytest.raises(UserError, match=reason):
            refuse_unsupported(model.config)


def test_tokenizers_that_llama_cpp_has_no_name_for_are_refused():
    smollm = json.loads(tokenizer_of("smollm").backend_tokenizer.to_str())
    assert pre_tokenizer_name(smollm) == "smollm"
    with pytest.raises(UserError, match="splits text as no pre-tokenizer named here"):
        pre_tokenizer_name(json.loads(tiny_tokenizer().backend_tokenizer.to_str()))
    for change, reason in (({"type": "Unigram"}, "byte-level BPE"), ({"ignore_merges": True}, "splits text")):
        with pytest.raises(UserError, match=reason):
            pre_tokenizer_name({**smollm, "model": {**smollm["model"], **change}})
    with pytest.raises(UserError, match="normalizer Lowercase is not supported"):
        pre_tokenizer_name({**smollm, "normalizer": {"type": "Lowercase"}})


def test_options_that_cannot_act(run_of, trained, tmp_path):
    with pytest.raises(UserError, match="--answers is for the files of --gguf"):
        export(run_of("llama"), tmp_path / "out", "merged", "float32", QUIET, answers=3)
    with pytest.raises(UserError, match="has no answers to prompts with checks"):
        export(trained("dpo"), tmp_path / "out", "merged", "float32", QUIET, "q8_0", answers=3)
    for run, form, dtype, gguf, reason in (
        (run_of("llama"), "merged", "float32", "q8_1", "did you mean 'q8_0'"),
        (run_of("llama"), "merged", "float32", " , ", "name at least one"),
        (run_of("llama"), "adapter", "float32", "q8_0", "leave --adapter out"),
        (run_of("llama"), "merged", "bfloat16", "q8_0", "--dtype rounds merged weights"),
        (trained("reward"), "merged", "float32", "q8_0", "a reward model gives scores"),
    ):
        with pytest.raises(UserError, match=reason):
            export(run, tmp_path / "out", form, dtype, QUIET, gguf)
    assert list(tmp_path.iterdir()) == []


def test_k_quantizations_go_through_llama_cpp(tmp_path, monkeypatch):
    """A stand-in for `llama-quantize` that copies; without one the command says what to install."""
    source, target = tmp_path / "half.gguf", tmp_path / "k.gguf"
    source.write_bytes(b"GGUF")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(llama_cpp, "PACKAGE", "no_such_llama_cpp")
    with pytest.raises(UserError, match="not installed: put its `llama-quantize` on the PATH"):
        llama_cpp.quantize_file(source, target, "q4_k_m")
    program = tmp_path / "llama-quantize"
    program.write_text(
        '#!/bin/sh\n[ "$3" = Q4_K_M ] && /bin/cp "$1" "$2" || { echo no such type; exit 3; }\n'
    )
    program.chmod(0o755)
    llama_cpp.quantize_file(source, target, "q4_k_m")
    assert target.read_bytes() == b"GGUF"
    with pytest.raises(UserError, match=r"did not write q6_k \(exit 3: no such type\)"):
        llama_cpp.quantize_file(source, tmp_path / "none.gguf", "q6_k")


def test_mean_kl_by_hand():
    """Two answers, of 3 tokens and 1: (0.1 + 0.2 + 0.3 + 0.2) / 4 per token, n = 2 answers."""
    found = mean_kl([[0.1, 0.2, 0.3], [0.2]])
    assert found.value == pytest.approx(0.2) and found.n == 2 and found.low >= 0.0


def test_an_unknown_quantization_lists_the_known_ones_once():
    with pytest.raises(UserError) as error:
        parse_quantizations("q9")
    assert str(error.value).count("q5_k_m") <= 1 and str(error.value).count("q8_0") == 1
    with pytest.raises(UserError) as error:
        parse_quantizations("zzz")
    assert str(error.value) == (
        "--gguf: 'zzz' is not a quantization; known: f16, q4_0, q4_k_m, q5_k_m, q6_k, q8_0."
    )
