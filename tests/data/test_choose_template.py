"""Which template writes, with which beginning of text and which end of turn; never one that is guessed."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from boresight.core.errors import UserError
from boresight.data.chat import encode_prompt
from boresight.data.rendering.choose import ensure_chat_template
from boresight.data.stop_tokens import end_of_turn
from boresight.models.load import load_tokenizer
from tests.data.test_chat import user
from tests.tiny import TEMPLATES, tiny_tokenizer

CHATML = TEMPLATES["chatml"]
NEEDS_SYSTEM = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
ALWAYS_ASKS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}<|assistant|>\n"


def base_with_bos():
    """A base model's tokenizer: no template, and a BOS before every text, as Llama's and Gemma's."""
    tokenizer = tiny_tokenizer("llama3")
    tokenizer.chat_template = None
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos[0]} $A", special_tokens=[bos]
    )
    return tokenizer


def written_by(template, make=tiny_tokenizer):
    tokenizer = make()
    tokenizer.chat_template = template
    return tokenizer


def test_builtin_templates_write_the_bos_that_the_tokenizer_adds(tmp_path):
    tokenizer = base_with_bos()
    ensure_chat_template(tokenizer, "plain")
    ids = encode_prompt(tokenizer, [user("x")]).tolist()
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids) == "<|begin_of_text|>### user\nx\n\n### assistant\n"
    tokenizer.save_pretrained(tmp_path)  # evaluation, export and other programs read what was saved
    assert encode_prompt(load_tokenizer(str(tmp_path)), [user("x")]).tolist() == ids


def test_builtin_templates_write_no_bos_that_the_tokenizer_does_not_add():
    tokenizer = tiny_tokenizer("base")
    assert tokenizer.bos_token_id is not None
    ensure_chat_template(tokenizer, "plain")
    assert tokenizer.bos_token_id not in encode_prompt(tokenizer, [user("x")])


def test_an_added_token_that_is_ordinary_text_ends_no_turn():
    """Gemma's tokenizer adds tokens for line ends, and writes ChatML's markers in ordinary ones."""
    tokenizer = tiny_tokenizer("gemma")
    tokenizer.add_tokens([AddedToken("\n", normalized=False, special=False)])
    with pytest.raises(UserError, match="ends an assistant's turn with no special token"):
        ensure_chat_template(tokenizer, "chatml")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    ensure_chat_template(tokenizer, "chatml")
    assert end_of_turn(tokenizer).text == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.content ", "unexpected end of template"),
        ("{% for m in messages %}{{ m.content | nofilter }}{% endfor %}", "No filter named 'nofilter'"),
        ("{% for m in messages %}{{ m.content[0]['text'] + '' }}{% endfor %}", "has no attribute 'text'"),
        ("{{ raise_exception('not\x1b[31m now\nnor then') }}", r"and its answer: not\\x1b\[31m now;"),
        ("{{ raise_exception('x' * 900) }}", "answer: x{200}…;"),
        ("{{ messages[0].content / 0 }}", "TypeError: unsupported operand"),
        ("nothing", "the words of the answer are missing"),
        (ALWAYS_ASKS, r"writes <\|assistant\|> for the next turn after every conversation"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_used_is_refused_in_one_sentence(template, reason):
    tokenizer = written_by(template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|assistant|>", "<|user|>", "<|im_end|>"]})
    with pytest.raises(UserError, match=reason) as caught:
        ensure_chat_template(tokenizer)
    assert str(caught.value).startswith("model.chat_template: ") and "\n" not in str(caught.value)


def test_a_template_that_wants_a_system_prompt_is_tried_with_one():
    assert end_of_turn(written_by(NEEDS_SYSTEM + CHATML)).text == "<|im_end|>"


def test_a_generation_prompt_that_is_always_written_harms_no_turn_that_ends():
    tokenizer = written_by(CHATML.replace("{% if add_generation_prompt %}", "{% if true %}"))
    assert end_of_turn(tokenizer).text == "<|im_end|>"


def test_named_templates():
    """A default is taken; without one, the sentence has the names, and the recipe may give one of them."""
    several = {"rag": "Documents: " + CHATML, "tool_use": CHATML}
    tokenizer = written_by(several)
    with pytest.raises(
        UserError, match=r"several chat templates and none called default; .*\(rag, tool_use\)"
    ):
        ensure_chat_template(tokenizer)
    ensure_chat_template(tokenizer, "rag")
    assert tokenizer.decode(encode_prompt(tokenizer, [user("x")])).startswith("Documents: <|im_start|>")
    ensure_chat_template(written_by({"default": CHATML, "tool_use": "x"}))
    for name in ("~nobody/x.jinja", "x" * 300, "nul\0"):
        with pytest.raises(UserError, match="is neither a file nor one of"):
            ensure_chat_template(tiny_tokenizer(), name)
    with pytest.raises(UserError, match="'rug' is neither a file nor one of chatml, plain, rag, tool_use"):
        ensure_chat_template(written_by(several), "rug")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "t.jinja").write_bytes(b"{{ x }}\xff")
    with pytest.raises(UserError, match=r"t\.jinja is not UTF-8 at byte 7; give the path of a Jinja file"):
        ensure_chat_template(tiny_tokenizer(), str(tmp_path / "t.jinja"))


def test_a_byte_order_mark_is_no_part_of_a_template(tmp_path):
    (tmp_path / "t.jinja").write_text(CHATML, encoding="utf-8-sig")
    tokenizer = tiny_tokenizer()
    ensure_chat_template(tokenizer, str(tmp_path / "t.jinja"))
    assert tokenizer.chat_template == CHATML
