"""Rows from conversations: what is prompt, what is scored, and what is refused.

Reading a mask: `scored(…)` joins the decoded scored tokens, `unscored(…)` the others.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference
from boresight.data.chat import encode_answer, encode_prompt
from boresight.data.rendering.choose import ensure_chat_template
from tests.encode import encode_demonstration, encode_preference
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
    (completion,) = encode_demonstration(tokenizer, Demonstration(turns, id="d"))[0].completions
    assert scored(tokenizer, completion) == "red<|im_end|>green\nblue<|im_end|>"
    assert unscored(tokenizer, completion) == "\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"


def test_prompt_of_a_demonstration_ends_at_the_first_answer():
    tokenizer = tiny_tokenizer("llama3")
    system = {"role": "system", "content": "Be brief."}
    example = Demonstration([system, user("one"), assistant("red"), user("two"), assistant("blue")], id="d")
    (row,) = encode_demonstration(tokenizer, example)
    assert np.array_equal(row.prompt, encode_prompt(tokenizer, [system, user("one")]))


def test_a_template_may_write_thoughts_in_the_last_turn_only():
    """Qwen3 renders a turn differently once another follows: each turn is a row, as generation sees it."""
    tokenizer = tiny_tokenizer("qwen3")
    turns = [user("one"), assistant("red"), user("two"), assistant("blue")]
    rows = encode_demonstration(tokenizer, Demonstration(turns, id="d"))
    assert [row.id for row in rows] == ["d.turn-1", "d.turn-2"]
    for n, (row, said) in enumerate(zip(rows, ["red", "blue"], strict=True)):
        assert np.array_equal(row.prompt, encode_prompt(tokenizer, turns[: 2 * n + 1]))
        assert scored(tokenizer, row.completions[0]) == f"<think>\n\n</think>\n\n{said}<|im_end|>"
        assert row.completions[0].mask.all()


def test_an_answer_of_several_turns_that_render_differently_is_refused():
    """The log-probability of a pair's answer is one sum, and its turns have no context in common."""
    turns = [assistant("red"), user("two"), assistant("blue")]
    with pytest.raises(UserError, match=r"row 'r': .*move all turns but the last into the prompt"):
        encode_preference(tiny_tokenizer("qwen3"), Preference([user("one")], turns, turns, "r"))
    (one, _) = encode_preference(
        tiny_tokenizer("chatml"), Preference([user("one")], turns, turns, "r")
    ).completions
    assert scored(tiny_tokenizer("chatml"), one) == "red<|im_end|>blue<|im_end|>"


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


def test_a_token_is_never_across_the_border():
    r"""`assistant\n` + `\nred`: tokenized whole, both newlines are one token; generation sees two."""
    tokenizer = tiny_tokenizer("chatml")
    newline, both = (tokenizer.encode(s, add_special_tokens=False) for s in ("\n", "\n\n"))
    assert len(newline) == len(both) == 1 and newline != both  # the trap is set
    row = encode_preference(tokenizer, pair(chosen="\nred"))
    assert np.array_equal(row.prompt, encode_prompt(tokenizer, [user("the answer?")]))
    assert row.prompt[-1] == row.completions[0].ids[0] == newline[0]
    assert scored(tokenizer, row.completions[0]) == "\nred<|im_end|>"
    turns = [user("one"), assistant("red"), user("two"), assistant("\nblue")]
    (completion,) = encode_demonstration(tokenizer, Demonstration(turns, id="d"))[0].completions
    assert scored(tokenizer, completion) == "red<|im_end|>\nblue<|im_end|>"
    assert unscored(tokenizer, completion) == "\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"


def test_the_answer_gets_no_space_of_its_own_where_it_is_tokenized_apart():
    """Such tokenizers write a space before all text, and put a space into the word that follows it."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    backend.train_from_iterator(["USER: hi ASSISTANT: red blue"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ 'USER: ' + m.content if m.role == 'user' "
        "else ' ASSISTANT: ' + m.content + eos_token }}{% endfor %}"
        "{{ ' ASSISTANT: ' if add_generation_prompt }}"
    )
    row = encode_preference(tokenizer, pair("hi", "red", "blue"))
    whole = tokenizer.encode("USER: hi ASSISTANT: red</s>", add_special_tokens=False)
    assert whole[: len(row.prompt)] != row.prompt.tolist()  # the trap is set
    assert "".join(tokenizer.convert_ids_to_tokens(row.completions[0].ids)) == "red</s>"
    assert row.completions[0].mask.all()


def thinking(closed: bool = True):
    """As QwQ's template: the generation prompt opens a thought, which every rendered turn has, if empty."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and " + ("loop.last" if closed else "false") + " %}<think>\n"
        "{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}"
        "{{ m.content.split('</think>')[-1].strip() if m.role == 'assistant' else m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    return tokenizer


def test_a_generation_prompt_may_end_in_a_thought():
    tokenizer = thinking()
    row = encode_preference(tokenizer, pair())
    assert tokenizer.decode(row.prompt).endswith("<|im_start|>assistant\n<think>\n")
    assert np.array_equal(row.prompt, encode_prompt(tokenizer, [user("the answer?")]))
    assert scored(tokenizer, row.completions[0]) == "\n</think>\n\nred<|im_end|>"


def test_thoughts_that_the_template_drops_from_every_turn_follow_the_generation_prompt():
    """As DeepSeek-R1's: a turn is rendered without its thought, also the last one."""
    tokenizer = thinking(closed=False)
    turns = [
        user("1"),
        assistant("<think>\nso\n</think>\n\nred"),
        user("2"),
        assistant("<think>a</think>blue"),
    ]
    one, two = encode_demonstration(tokenizer, Demonstration(turns, id="d"))
    assert tokenizer.decode(one.prompt).endswith("1<|im_end|>\n<|im_start|>assistant\n<think>\n")
    assert scored(tokenizer, one.completions[0]) == "so\n</think>\n\nred<|im_end|>"
    assert "<|im_start|>assistant\nred<|im_end|>" in tokenizer.decode(two.prompt)
    assert np.array_equal(two.prompt, encode_prompt(tokenizer, turns[:3]))
    assert scored(tokenizer, two.completions[0]) == "a</think>blue<|im_end|>"
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\n<think>\n{% endif", "assistant\n{% endif"
    )
    row = encode_preference(tokenizer, pair(chosen="<think>so</think>red"))
    assert scored(tokenizer, row.completions[0]) == "<think>so</think>red<|im_end|>"


def test_words_that_the_template_leaves_out_are_refused():
    """Llama 3.1 writes the call of a turn and drops what is said before it."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.tool_calls[0] | tojson if m.tool_calls else m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    calls = [{"name": "temp"}]
    quiet, loud = (
        {"role": "assistant", "content": words, "tool_calls": calls} for words in ("", "Let me look.")
    )
    (row,) = encode_demonstration(tokenizer, Demonstration([user("q"), quiet], id="d"))
    assert scored(tokenizer, row.completions[0]) == '{"name": "temp"}<|im_end|>'
    with pytest.raises(UserError, match=r"row 'd': the chat template leaves out words of turn 2, which"):
        encode_demonstration(tokenizer, Demonstration([user("q"), loud], id="d"))


GENERATED = [
    "",
    "\n\nred",
    "\n",
    "<|im_end|>",
    "red\n\n",
    "\ufffd",
    "</think>",
    "<think>\n",
    " ",
    "<|im_start|>user",
]


@pytest.mark.parametrize("answer", GENERATED)
@pytest.mark.parametrize("make", [thinking, tiny_tokenizer])
def test_a_generated_answer_of_any_form_is_a_row(make, answer):
    """It goes on after the generation prompt, and the template, which may rewrite it, is not asked."""
    tokenizer = make()
    row = encode_answer(tokenizer, [user("q")], answer, "a")
    assert np.array_equal(row.prompt, encode_prompt(tokenizer, [user("q")]))
    assert scored(tokenizer, row.completions[0]) == f"{answer}<|im_end|>"
    assert row.completions[0].mask.all()


def test_a_template_that_refuses_is_an_error_with_the_row():
    tokenizer = tiny_tokenizer("gemma")
    example = Preference(
        [{"role": "system", "content": "x"}, user("y")], [assistant("a")], [assistant("b")], "r"
    )
    with pytest.raises(
        UserError,
        match=r"row 'r': the chat template refuses .*System role not supported; `data.system: fold`",
    ):
        encode_preference(tokenizer, example)


def test_a_generation_prompt_that_no_turn_begins_with_is_an_error():
    """As DeepSeek-R1's: the generation prompt opens a thought that rendered turns do not have."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% if add_generation_prompt %}<|im_start|>assistant\n",
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n",
    )
    with pytest.raises(
        UserError, match=r"row 'row-7': .*generation prompt does, which continues with '<think>"
    ):
        encode_preference(tokenizer, pair())


def test_what_a_generation_prompt_adds_is_quoted_as_a_whole_tag():
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.chat_template = (tokenizer.chat_template or "").replace(
        "{{ m.content }}", "<|so|>{{ m.content }}"
    )
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\n{% endif %}", "assistant\n<|sure|>{% endif %}"
    )
    with pytest.raises(UserError, match=r"continues with '<\|sure\|>', so"):
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
    (row,) = encode_demonstration(tokenizer, Demonstration(messages, id="d"))
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
    (completion,) = encode_demonstration(tokenizer, Demonstration(turns, id="d"))[0].completions
    assert scored(tokenizer, completion) == f"{ANSWERS[2]}<|im_end|>{ANSWERS[3]}<|im_end|>"
    assert unscored(tokenizer, completion) == "\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"
