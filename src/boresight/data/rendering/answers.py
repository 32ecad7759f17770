"""Find the answer that a model must generate in the rendering of the whole conversation.

    opening   <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵            input of generation
    text      <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵Hello.<|im_end|>↵
    answer                                                        Hello.<|im_end|>

Most renderings begin with the input of generation. Others lack text that the generation prompt adds, render
earlier turns differently, or omit reasoning. Then the answer is the text after the message that precedes it,
if all words of the answer are in that text.
"""

from __future__ import annotations

THOUGHT_MARKS = (
    ("<think>", "</think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("[THINK]", "[/THINK]"),
)
"""Start and end tags of reasoning.

A generation prompt that ends with an empty reasoning block requests an answer without reasoning.
"""
LONGEST_TAIL = 40
"""Maximum length of the end of a generation prompt that an answer in the data may repeat, in characters."""


def answer_after(opening: str, text: str, words: str, end: str, previous: str) -> str | None:
    """Return the answer with its end-of-turn token.

    None if the answer cannot be found or some of its words are missing in the rendering.

    Args:
        opening: rendering of the messages before the answer, with the generation prompt.
        text: rendering of the messages including the answer.
        words: content of the answer.
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
    """Return the turn that begins at `start`, up to its end-of-turn token; empty if there is no such token.

    The words of the answer are skipped first, since they may contain the token. Templates may strip the
    words, and render reasoning before them.
    """
    words = words.strip()
    found = text.find(words, start)
    at = text.find(end, start if found < 0 else found + len(words))
    return text[start : at + len(end)] if at >= 0 else ""


def _as_rendered(opening: str, text: str, words: str, end: str) -> str | None:
    """Return the answer if the rendering begins with the input of generation.

    The answer in the data may begin with the end of the generation prompt, such as `<think>`.
    """
    if not text.startswith(opening):
        return None
    turn = cut_turn(text, len(opening), words, end)
    return turn if turn and _squeezed(words) in _squeezed(opening[-LONGEST_TAIL:] + turn) else None


def _after_white_space(opening: str, text: str, words: str, end: str) -> str | None:
    """Return the answer if only white space at the end of the generation prompt is rendered differently."""
    context = opening.rstrip()
    if context == opening or not text.startswith(context):
        return None
    turn = cut_turn(text, len(context), words, end).lstrip()
    return turn if turn and _squeezed(words) in _squeezed(context[-LONGEST_TAIL:] + turn) else None


def _after_empty_thought(opening: str, text: str, words: str, end: str) -> str | None:
    """Return the answer if only the generation prompt contains an empty reasoning block."""
    for begin, close in THOUGHT_MARKS:
        at = opening.rfind(begin)
        if at < 0 or _squeezed(opening[at:]) != _squeezed(begin + close) or not text.startswith(opening[:at]):
            continue
        turn = cut_turn(text, at, words, end)
        if _squeezed(words) in _squeezed(turn) and not turn.lstrip().startswith(begin):
            return turn
    return None


def _after_same_message(opening: str, text: str, words: str, end: str, previous: str) -> str | None:
    """Return the answer if only the last message before it has the same rendering in both texts."""
    at = text.rfind(words.strip()) if words.strip() else -1
    head, context = text[: max(at, 0)].rstrip(), opening.rstrip()
    since = head.rfind(previous.strip()) if previous.strip() else -1
    gap = opening[len(context) :]
    if since < 0 or not context.endswith(head[since:]) or not text[len(head) :].startswith(gap):
        return None
    return cut_turn(text, len(head) + len(gap), words, end) or None


def _as_in_the_data(opening: str, text: str, words: str, end: str) -> str | None:
    """Return the answer from the data if the rendering omits the first part of its words.

    All words then follow the generation prompt, without those that the generation prompt ends with.
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
    """Return the length of the longest prefix of `words` that `text` ends with."""
    longest = min(len(text), len(words), LONGEST_TAIL)
    return next((n for n in range(longest, 0, -1) if text.endswith(words[:n])), 0)


def _squeezed(text: str) -> str:
    """Return the text without white space, which templates strip and insert."""
    return "".join(text.split())
