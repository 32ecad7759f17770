"""Find the answer that a model must generate in the template's rendering of the whole conversation.

    opening   <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵            input of generation
    text      <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵Hello.<|im_end|>↵
    answer                                                        Hello.<|im_end|>

Most renderings begin with the input of generation. Others lack text that the generation prompt adds, render
earlier turns differently, or omit reasoning; then the answer is the text after the last message before it,
provided that all its words are there.
"""

from __future__ import annotations

THOUGHT_MARKS = (
    ("<think>", "</think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("[THINK]", "[/THINK]"),
)
"""Markers of reasoning. A generation prompt that ends in an empty block of it requests an answer without
reasoning."""
LONGEST_TAIL = 40
"""Characters at the end of a generation prompt with which an answer in the data may begin."""


def answer_after(opening: str, text: str, words: str, end: str, previous: str) -> str | None:
    """The answer with its end of turn; None where it cannot be found, or words of it are missing.

    Args:
        opening: the messages before the answer, with the generation prompt.
        text: the messages with the answer.
        words: the answer's content.
        end: the end-of-turn token.
        previous: content of the message before the answer.
    """
    return (
        _as_rendered(opening, text, words, end)
        or _after_white_space(opening, text, words, end)
        or _after_empty_thought(opening, text, words, end)
        or _after_same_message(opening, text, words, end, previous)
        or _as_in_the_data(opening, text, words, end)
    )


def cut_turn(text: str, start: int, words: str, end: str) -> str:
    """The turn that begins at `start`, end-of-turn token included; empty where there is none.

    The words are skipped first, as they may quote the token. Templates may trim them, and write thoughts
    before them.
    """
    words = words.strip()
    found = text.find(words, start)
    at = text.find(end, start if found < 0 else found + len(words))
    return text[start : at + len(end)] if at >= 0 else ""


def _as_rendered(opening: str, text: str, words: str, end: str) -> str | None:
    """The rendering begins with input of generation; words may begin at its end, as with `<think>`."""
    if not text.startswith(opening):
        return None
    turn = cut_turn(text, len(opening), words, end)
    return turn if turn and _squeezed(words) in _squeezed(opening[-LONGEST_TAIL:] + turn) else None


def _after_white_space(opening: str, text: str, words: str, end: str) -> str | None:
    """The generation prompt ends in white space that the rendering writes otherwise, or not at all."""
    context = opening.rstrip()
    if context == opening or not text.startswith(context):
        return None
    turn = cut_turn(text, len(context), words, end).lstrip()
    return turn if turn and _squeezed(words) in _squeezed(context[-LONGEST_TAIL:] + turn) else None


def _after_empty_thought(opening: str, text: str, words: str, end: str) -> str | None:
    """The generation prompt ends in an empty thought, and the rendering has none."""
    for begin, close in THOUGHT_MARKS:
        at = opening.rfind(begin)
        if at < 0 or _squeezed(opening[at:]) != _squeezed(begin + close) or not text.startswith(opening[:at]):
            continue
        turn = cut_turn(text, at, words, end)
        if _squeezed(words) in _squeezed(turn) and not turn.lstrip().startswith(begin):
            return turn
    return None


def _after_same_message(opening: str, text: str, words: str, end: str, previous: str) -> str | None:
    """The rendering writes earlier messages otherwise, and the last one before the answer alike."""
    at = text.rfind(words.strip()) if words.strip() else -1
    head, context = text[: max(at, 0)].rstrip(), opening.rstrip()
    since = head.rfind(previous.strip()) if previous.strip() else -1
    gap = opening[len(context) :]
    if since < 0 or not context.endswith(head[since:]) or not text[len(head) :].startswith(gap):
        return None
    return cut_turn(text, len(head) + len(gap), words, end) or None


def _as_in_the_data(opening: str, text: str, words: str, end: str) -> str | None:
    """The rendering has only the last part of the words: all of them follow the generation prompt.

    Words that begin with the end of the generation prompt continue after it.
    """
    shared = _overlap(opening.rstrip(), words)
    base = opening.rstrip().removesuffix(words[:shared]) if shared else opening
    if not text.startswith(base):
        return None
    kept = cut_turn(text, len(base), words, end).removesuffix(end).strip()
    if not kept or not words.rstrip().endswith(kept):
        return None
    rest = words[shared:].lstrip() if shared else words
    return rest.rstrip() + end


def _overlap(text: str, words: str) -> int:
    """Length of the longest beginning of `words` with which `text` ends."""
    longest = min(len(text), len(words), LONGEST_TAIL)
    return next((n for n in range(longest, 0, -1) if text.endswith(words[:n])), 0)


def _squeezed(text: str) -> str:
    """The text without white space, which templates trim and add."""
    return "".join(text.split())
