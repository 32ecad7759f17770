"""Compare rows under real chat templates with a reading of their own, as test_template_families.py does.

    python scripts/check_templates.py FOLDER        every .jinja file below it

A line for each template, and for each conversation that is not right: refused, with the reason, or WRONG.
Ends with code 1 where a row is wrong. Special tokens are guessed from the template's text; beginning and end
of text are <s> and </s>.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from jinja2 import TemplateError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.data.template_masks import CASES, Messages, check_conversation, make_tokenizer, rendered  # noqa: E402

SPECIAL = re.compile(
    r"<\|[^|<>{}\s']+\|>|<｜[^｜<>{}]+｜>|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS|gMASK)\]"
    r"|</?s>|<(?:start|end)_of_turn>|<[a-z]*eos[a-z_]*>|<\[?[a-z_]*end[_▁]of[_▁][a-z]+\]?[^<>{}]*>|<turn\|>|<\|turn>"
    r"|\[e~\[|\]~b\]|<SPECIAL_\d+>|<seed:[a-z]+>"
)
"""How special tokens look in templates."""
SYSTEM: Messages = [{"role": "system", "content": "Be brief."}]


def end_of(template: str, specials: list[str]) -> str:
    """The special token after the words of an answer, by the template alone; none: nothing."""
    tokenizer = make_tokenizer(template, specials, "<s>", "</s>")
    for before in ([], SYSTEM):
        try:
            text = rendered(tokenizer, [*before, *CASES["single turn"]])
        except (TemplateError, TypeError, ValueError):
            continue
        after = text[text.rindex("quartz") :] if "quartz" in text else ""
        found = [(after.index(token), token) for token in [*specials, "<s>", "</s>"] if token in after]
        return min(found)[1] if found else ""
    return ""


def outcome(template: str, specials: list[str], end: str, messages: Messages) -> str:
    """`right`, `refused: …` or `WRONG: …`."""
    tokenizer = make_tokenizer(template, specials, "<s>", "</s>")
    try:
        refusal = check_conversation(tokenizer, messages, end)
    except (AssertionError, TemplateError, ValueError, TypeError) as wrong:
        return f"WRONG: {type(wrong).__name__} {' '.join(str(wrong).split())[:200]}"
    return f"refused: {refusal}" if refusal else "right"


def main(folder: str) -> int:
    """Print what is not right, and a line for each template; returns the exit code."""
    wrong = 0
    for file in sorted(Path(folder).rglob("*.jinja")):
        template = file.read_text(encoding="utf-8")
        specials = sorted(set(SPECIAL.findall(template)))
        end = end_of(template, specials)
        found = {case: outcome(template, specials, end, turns) for case, turns in CASES.items()}
        counts = [sum(o.startswith(kind) for o in found.values()) for kind in ("right", "refused", "WRONG")]
        wrong += counts[2]
        told = ", ".join(f"{n} {kind}" for n, kind in zip(counts, ("right", "refused", "wrong"), strict=True))
        print(f"{file.stem}: end of turn {end or 'none'}; {told}")
        for case, what in found.items():
            if what != "right":
                print(f"    {case}: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
