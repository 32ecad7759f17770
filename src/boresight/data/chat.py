"""From conversations to token rows, with the loss mask, for any chat template.

The template is a black box that renders messages to text. A conversation is rendered whole, and
tokenised once; where each assistant turn starts is found by rendering what comes before it, followed by
the generation prompt, and where it ends by the end-of-turn token after its words. Nothing depends
on template tags, and nothing is masked by the id of a token.

Example, ChatML, scored tokens in brackets:

    <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵[Hello.<|im_end|>]

The newline that the template writes after the last end-of-turn token is no part of the row: the model
stops before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from boresight.core.errors import UserError, first_line
from boresight.core.schema import Demonstration, Example, Message, Preference, Prompt, is_scored
from boresight.data.reading.message_keys import CALLS, OF_CONVERSATION, THOUGHTS
from boresight.data.rows import Completion, Row
from boresight.data.stop_tokens import EndOfTurn, end_of_turn
from boresight.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

NOT_RENDERED = (*OF_CONVERSATION, "weight")
"""Keys of messages that are not among a template's messages."""

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Continuation:
    """A whole conversation as text, up to its last end of turn.

    `spans` are `(start, end)` in characters, one an assistant turn: its words and its end-of-turn token.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """An example as text: the prompt with the generation prompt, and every continuation of it."""

    id: str
    prompt: str
    continuations: tuple[Continuation, ...]

    @property
    def texts(self) -> list[str]:
        """What has to be tokenised, prompt first."""
        return [self.prompt, *(c.text for c in self.continuations)]


def ensure_chat_template(tokenizer: Tokenizer, spec: str | None = None) -> None:
    """Give the tokenizer the chat template called `spec`; without one, it must have its own.

    Args:
        spec: `chatml`, `plain` (ends a turn with the tokenizer's own eos token), or a Jinja file.

    Raises:
        UserError: no template at all, no such template, or one that ends no turn with a special token.
    """
    if spec is not None:
        builtin, file = TEMPLATES / f"{spec}.j2", Path(spec).expanduser()
        if not (builtin.is_file() or file.is_file()):
            names = ", ".join(sorted(f.stem for f in TEMPLATES.glob("*.j2")))
            raise UserError(f"model.chat_template: {spec!r} is neither a file nor one of {names}.")
        tokenizer.chat_template = (builtin if builtin.is_file() else file).read_text(encoding="utf-8")
    end_of_turn(tokenizer)


def encode_preference(tokenizer: Tokenizer, example: Preference) -> Row:
    """A row with two completions, chosen first. Raises `UserError` as `render` and `assemble` do."""
    return _encode(tokenizer, example)


def encode_demonstration(tokenizer: Tokenizer, example: Demonstration) -> Row:
    """A row with one completion: all that follows the first user turn, assistant turns scored.

    Raises `UserError` as `render` and `assemble` do.
    """
    return _encode(tokenizer, example)


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> np.ndarray:
    """Token ids of a conversation and the generation prompt: int32 `(length,)`."""
    text = _template(tokenizer, messages, "prompt", ask=True)
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return np.asarray(ids, dtype=np.int32)


def encode_conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> np.ndarray:
    """Token ids of a conversation and of all that the template writes after it: int32 `(length,)`."""
    text = _template(tokenizer, messages, "conversation")
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return np.asarray(ids, dtype=np.int32)


def render_example(tokenizer: Tokenizer, example: Example, end: EndOfTurn) -> Rendered:
    """Render an example with the tokenizer's chat template.

    Raises:
        UserError: the template refuses the messages, or does not open an assistant's turn with its own
            generation prompt.
    """
    before, answers = _split(example)
    prompt = _template(tokenizer, before, example.id, ask=True)
    _refuse_unwritten(tokenizer, before, range(len(before)), prompt, example.id, ask=True)
    continuations = tuple(_continuation(tokenizer, before, a, prompt, end, example.id) for a in answers)
    return Rendered(example.id, prompt, continuations)


def assemble(rendered: Rendered, encodings: Sequence[Encoding], end: EndOfTurn) -> Row:
    """A row from the encodings of `rendered.texts` (made without adding special tokens).

    Raises:
        UserError: prompt and answer share a token, so that the model would never see, when it
            generates, what it was trained on.
    """
    prompt = np.asarray(encodings[0].ids, dtype=np.int32)
    completions = tuple(
        _completion(rendered, prompt, continuation, encoding, end)
        for continuation, encoding in zip(rendered.continuations, encodings[1:], strict=True)
    )
    return Row(rendered.id, prompt, completions)


def _encode(tokenizer: Tokenizer, example: Example) -> Row:
    end = end_of_turn(tokenizer)
    rendered = render_example(tokenizer, example, end)
    # Without special tokens: the template has written BOS already, if the model has one.
    encodings = tokenizer.backend_tokenizer.encode_batch(rendered.texts, add_special_tokens=False)
    return assemble(rendered, encodings, end)


def _split(example: Example) -> tuple[list[Message], list[list[Message]]]:
    """Messages before the first scored turn, and each list of messages that may follow them."""
    if isinstance(example, Prompt):
        return example.prompt, []
    if isinstance(example, Preference):
        return example.prompt, [example.chosen, example.rejected]
    first = next((n for n, message in enumerate(example.messages) if is_scored(message)), 0)
    return example.messages[:first], [example.messages[first:]]


def _continuation(
    tokenizer: Tokenizer, before: list[Message], after: list[Message], prompt: str, end: EndOfTurn, id: str
) -> Continuation:
    if not after or after[0]["role"] != "assistant":
        raise UserError(f"row {id!r}: an assistant's turn must follow the prompt.")
    whole = _template(tokenizer, [*before, *after], id)
    new = range(len(before), len(before) + len(after))
    _refuse_unwritten(tokenizer, [*before, *after], new, whole, id)
    spans: list[tuple[int, int]] = []
    for i, message in enumerate(after):
        if not is_scored(message):
            continue
        opening = prompt if i == 0 else _template(tokenizer, [*before, *after[:i]], id, ask=True)
        if not whole.startswith(opening) or (spans and len(opening) < spans[-1][1]):
            raise UserError(
                f"row {id!r}: the chat template opens an assistant's turn otherwise than its generation "
                "prompt does, so what to score cannot be told; set model.chat_template to one that agrees."
            )
        spans.append((len(opening), _turn_end(whole, len(opening), message["content"], end, id)))
    if not spans:
        raise UserError(f"row {id!r}: no turn of the answer is scored; all have weight 0.")
    return Continuation(whole[: spans[-1][1]], tuple(spans))


def _turn_end(whole: str, start: int, content: str, end: EndOfTurn, id: str) -> int:
    """Where the turn that starts at `start` ends, end-of-turn token included.

    The words are skipped first, as they may quote the end-of-turn token. Templates may trim them, and
    write thoughts before them.
    """
    words = content.strip()
    found = whole.find(words, start)
    at = whole.find(end.text, start if found < 0 else found + len(words))
    if at < 0:
        raise UserError(
            f"row {id!r}: the chat template writes no {end.text} after an assistant's turn; "
            "set model.chat_template to one that does."
        )
    return at + len(end.text)


def _completion(
    rendered: Rendered, prompt: np.ndarray, text: Continuation, encoding: Encoding, end: EndOfTurn
) -> Completion:
    id = rendered.id
    ids = np.asarray(encoding.ids, dtype=np.int32)
    if not np.array_equal(ids[: len(prompt)], prompt):
        raise _shared_token(id)
    mask = np.zeros(len(ids), dtype=bool)
    for start, stop in text.spans:
        first = len(prompt) if start == len(rendered.prompt) else _first_token(id, encoding, start, stop)
        last = encoding.char_to_token(stop - len(end.text))
        assert last is not None, "the end-of-turn token is a token"
        mask[first : last + 1] = True
    return Completion(ids[len(prompt) :], mask[len(prompt) :])


def _first_token(id: str, encoding: Encoding, start: int, stop: int) -> int:
    """Index of the first token of the characters from `start`.

    Some tokenizers count a leading space to no token; then the next character's token holds it.
    """
    for position in range(start, stop):
        token = encoding.char_to_token(position)
        if token is not None:
            if encoding.offsets[token][0] < start:
                raise _shared_token(id)
            return token
    raise AssertionError("the end-of-turn token has a position")


def _shared_token(id: str) -> UserError:
    return UserError(
        f"row {id!r}: the tokenizer joins the end of the prompt and the start of the answer into one token; "
        "remove the white space that the answer starts with."
    )


def _refuse_unwritten(
    tokenizer: Tokenizer, messages: list[Message], turns: Iterable[int], text: str, id: str, ask: bool = False
) -> None:
    """Refuse content of `turns` that the template leaves out: rendered without it, the text is the same.

    Thoughts count in the turns that are scored alone: templates drop them from the history on purpose.
    """
    for n in turns:
        scored = not ask and is_scored(messages[n])
        for key in ("tools", *CALLS, *(THOUGHTS if scored else ())):
            if key not in messages[n]:
                continue
            less = cast("Message", {k: v for k, v in messages[n].items() if k != key})
            try:
                same = _template(tokenizer, [*messages[:n], less, *messages[n + 1 :]], id, ask) == text
            except UserError:
                continue  # it cannot do without
            if same:
                raise UserError(
                    f"row {id!r}: the chat template writes nothing of `{key}` in turn {n + 1}, so it would "
                    "be lost; set model.chat_template to one that writes it, or take the key out of the data."
                )


def _template(tokenizer: Tokenizer, messages: Sequence[Message], id: str, ask: bool = False) -> str:
    """The template's text; `ask` appends the generation prompt."""
    from jinja2 import TemplateError

    options = dict(messages[0].get("chat_template_kwargs", {})) if messages else {}
    if messages and "tools" in messages[0]:
        options["tools"] = messages[0]["tools"]
    turns = [cast("Message", {k: v for k, v in m.items() if k not in NOT_RENDERED}) for m in messages]
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask, **options)
    except (TemplateError, ValueError, TypeError) as error:
        raise UserError(
            f"row {id!r}: the chat template refuses these messages: {first_line(error)}."
        ) from error
