"""Rows from conversations: what is prompt, what is scored, and what is refused.

Reading a mask: `scored(…)` joins the decoded scored tokens, `unscored(…)` the others.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference
from boresight.data.chat import (
    encode_demonstration,
    encode_preference,
    encode_prompt,
    ensure_chat_template,
)
from tests.tiny import tiny_tokenizer

END = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "qwen3": "<|im_end|>"}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def pair(question="the answer?", chosen="red", rejected="blue, é 🎉"):
    return Preference([user(question)], [assistant(chosen)], [assistant(rejected)], id="row-7")


def scored(tokenizer, completion):
    return tokenizer.decode(completion.ids[completion.mask])


def unscored(tokenizer, completion):
    return tokenizer.decode(completion.ids[~completion.mask])


@pytest.mark.parametrize("template", ["chatml", "llama3", "gemma"])
def test_the_scored_span_is_the_answer_and_its_end_of_turn(template):
    """Byte for byte, and nothing follows: the newline after ChatML's end of turn is dropped."""
    tokenizer = tiny_tokenizer(template)
    row = encode_preference(tokenizer, pair())
    for completion, answer in zip(row.completions, ["red", "blue, é 🎉"], strict=True):
        assert scored(tokenizer, completion) == answer + END[template]
        assert completion.mask.all()
        assert completion.ids.dtype == row.prompt.dtype == np.int32
        assert completion.mask.dtype == bool


@pytest.mark.parametrize("template", ["chatml", "llama3", "gemma"])
def test_the_prompt_is_what_generation_sees(template):
    tokenizer = tiny_tokenizer(template)
    row = encode_preference(tokenizer, pair())
    seen = tokenizer.apply_chat_template([user("the answer?")], add_generation_prompt=True)["input_ids"]
    assert row.prompt.tolist() == seen == encode_prompt(tokenizer, [user("the answer?")]).tolist()


def test_default_system_prompt_is_part_of_the_prompt():
    tokenizer = tiny_tokenizer("chatml")
    row = encode_preference(tokenizer, pair())
    assert tokenizer.decode(row.prompt).startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user")


@pytest.mark.parametrize("template", ["llama3", "gemma"])
def test_bos_appears_once(template):
    """The template writes BOS; a tokenizer that adds its own as well would make two."""
    tokenizer = tiny_tokenizer(template)
    bos = tokenizer.bos_token_id
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, bos)]
    )
    assert tokenizer("x").input_ids[0] == bos  # the trap is set
    row = encode_preference(tokenizer, pair())
    assert row.prompt.tolist().count(bos) == 1
    assert all(bos not in c.ids for c in row.completions)


def test_later_user_turns_are_not_scored():
    tokenizer = tiny_tokenizer("chatml")
    turns = [user("one"), assistant("red"), user("two"), assistant("green\nblue")]
    (completion,) = encode_demonstration(tokenizer, Demonstration(turns, id="d")).completions
    assert scored(tokenizer, completion) == "red<|im_end|>green\nblue<|im_end|>"
    assert unscored(tokenizer, completion) == "\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"


def test_prompt_of_a_demonstration_ends_at_the_first_answer():
    tokenizer = tiny_tokenizer("llama3")
    system = {"role": "system", "content": "Be brief."}
    example = Demonstration([system, user("one"), assistant("red"), user("two"), assistant("blue")], id="d")
    row = encode_demonstration(tokenizer, example)
    assert np.array_equal(row.prompt, encode_prompt(tokenizer, [system, user("one")]))


def test_a_template_may_write_thoughts_in_the_last_turn_only():
    """Qwen3 renders a turn differently once another follows, so `messages[:i]` is no prefix of the whole."""
    tokenizer = tiny_tokenizer("qwen3")
    turns = [user("one"), assistant("red"), user("two"), assistant("blue")]
    (completion,) = encode_demonstration(tokenizer, Demonstration(turns, id="d")).completions
    assert scored(tokenizer, completion) == "red<|im_end|><think>\n\n</think>\n\nblue<|im_end|>"


def test_templates_may_trim():
    tokenizer = tiny_tokenizer("llama3")
    row = encode_preference(tokenizer, pair(chosen="\n\n red \n"))
    assert scored(tokenizer, row.completions[0]) == "red<|eot_id|>"


def test_an_answer_may_quote_the_end_of_turn():
    """The first `<|im_end|>` is the answer's own; the span goes on to the one that ends the turn."""
    tokenizer = tiny_tokenizer("chatml")
    row = encode_preference(tokenizer, pair(chosen="say <|im_end|> and stop"))
    assert scored(tokenizer, row.completions[0]) == "say <|im_end|> and stop<|im_end|>"


def test_the_mask_does_not_ask_for_the_pad_id():
    """With pad equal to the end-of-turn token, as SmolLM2 has it, that token is still scored."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.pad_token = tokenizer.eos_token = "<|im_end|>"
    row = encode_preference(tokenizer, pair())
    for completion in row.completions:
        assert completion.ids[-1] == tokenizer.pad_token_id
        assert completion.mask[-1]


def test_a_token_across_the_border_is_an_error_with_the_row():
    r"""`assistant\n` + `\nred`: the tokenizer joins both newlines, and the prompt is no prefix any more."""
    tokenizer = tiny_tokenizer("chatml")
    with pytest.raises(UserError, match=r"row 'row-7': the tokenizer joins"):
        encode_preference(tokenizer, pair(chosen="\nred"))
    turns = [user("one"), assistant("red"), user("two"), assistant("\nblue")]
    with pytest.raises(UserError, match=r"row 'd': the tokenizer joins"):
        encode_demonstration(tokenizer, Demonstration(turns, id="d"))


def test_a_template_that_refuses_is_an_error_with_the_row():
    tokenizer = tiny_tokenizer("gemma")
    example = Preference(
        [{"role": "system", "content": "x"}, user("y")], [assistant("a")], [assistant("b")], "r"
    )
    with pytest.raises(UserError, match=r"row 'r': the chat template refuses .*System role not supported\.$"):
        encode_preference(tokenizer, example)


def test_a_generation_prompt_that_no_turn_begins_with_is_an_error():
    """As DeepSeek-R1's: the generation prompt opens a thought that rendered turns do not have."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% if add_generation_prompt %}<|im_start|>assistant\n",
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n",
    )
    with pytest.raises(UserError, match=r"row 'row-7': .*generation prompt"):
        encode_preference(tokenizer, pair())


def test_without_a_template_the_error_names_the_option():
    with pytest.raises(UserError, match=r"model\.chat_template"):
        encode_preference(tiny_tokenizer("base"), pair())


def test_plain_suits_a_tokenizer_that_knows_only_its_eos():
    tokenizer = tiny_tokenizer("base")
    ensure_chat_template(tokenizer, "plain")
    row = encode_preference(tokenizer, pair())
    assert tokenizer.decode(row.prompt) == "### user\nthe answer?\n\n### assistant\n"
    assert scored(tokenizer, row.completions[0]) == "red<|endoftext|>"


def test_builtin_chatml_adds_no_system_prompt():
    tokenizer = tiny_tokenizer("chatml")
    ensure_chat_template(tokenizer, "chatml")
    row = encode_preference(tokenizer, pair())
    assert tokenizer.decode(row.prompt) == "<|im_start|>user\nthe answer?<|im_end|>\n<|im_start|>assistant\n"


def test_chatml_needs_its_tokens():
    with pytest.raises(UserError, match="use `plain`"):
        ensure_chat_template(tiny_tokenizer("base"), "chatml")


def test_template_from_a_file(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
                    "{% if add_generation_prompt %}assistant: {% endif %}")  # fmt: skip
    tokenizer = tiny_tokenizer("base")
    ensure_chat_template(tokenizer, str(file))
    assert tokenizer.decode(encode_prompt(tokenizer, [user("x")])) == "user: x<|endoftext|>assistant: "


def test_unknown_template():
    with pytest.raises(UserError, match="'chatmll' is neither a file nor one of chatml, plain"):
        ensure_chat_template(tiny_tokenizer("base"), "chatmll")


# Words that begin and end with a letter: no template trims them, no tokenizer joins them to its newline.
words = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=20).map(lambda s: f"a{s}b")


@settings(max_examples=60, deadline=None)
@given(
    template=st.sampled_from(["chatml", "llama3", "gemma"]),
    turns=st.lists(st.tuples(words, words), min_size=1, max_size=4),
)
def test_any_conversation_round_trips(template, turns):
    """Scored text is every answer with its end of turn; prompt and completion together are the rendering."""
    tokenizer = tiny_tokenizer(template)
    messages = [m for question, answer in turns for m in (user(question), assistant(answer))]
    row = encode_demonstration(tokenizer, Demonstration(messages, id="d"))
    (completion,) = row.completions
    assert scored(tokenizer, completion) == "".join(answer + END[template] for _, answer in turns)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole.removesuffix("\n") == tokenizer.decode([*row.prompt, *completion.ids])


ANSWERS = [
    "Red.",
    " leading space",
    "two\n\nlines ",
    "emoji 🎉🏳️‍🌈 and é",
    "code:\n```py\nx = [1]\n```",
    "数学は楽しい",
]


@pytest.fixture(params=["qwen", "smollm2"])
def shipped_tokenizer(request):
    """The real tokenizers with the templates they ship with."""
    from transformers import AutoTokenizer

    if request.param == "qwen":
        return AutoTokenizer.from_pretrained(request.getfixturevalue("real_data") / "qwen25_tokenizer")
    return AutoTokenizer.from_pretrained(request.getfixturevalue("starter"))


@pytest.mark.real_data
@pytest.mark.starter
@pytest.mark.parametrize("answer", ANSWERS)
def test_shipped_templates(shipped_tokenizer, answer):
    """Both add a default system prompt, and both end a turn with `<|im_end|>` and a newline."""
    tokenizer = shipped_tokenizer
    row = encode_preference(tokenizer, pair(chosen=answer, rejected="No."))
    assert tokenizer.decode(row.prompt).startswith("<|im_start|>system\nYou are ")
    assert tokenizer.decode(row.prompt).endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert scored(tokenizer, row.completions[0]) == answer + "<|im_end|>"
    assert row.completions[0].mask.all()


@pytest.mark.real_data
@pytest.mark.starter
def test_shipped_templates_in_a_longer_conversation(shipped_tokenizer):
    tokenizer = shipped_tokenizer
    turns = [user("one"), assistant(ANSWERS[2]), user("two"), assistant(ANSWERS[3])]
    (completion,) = encode_demonstration(tokenizer, Demonstration(turns, id="d")).completions
    assert scored(tokenizer, completion) == f"{ANSWERS[2]}<|im_end|>{ANSWERS[3]}<|im_end|>"
    assert unscored(tokenizer, completion) == "\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"
