"""Stage 5, card: describe contents, sources and cost of the data set, with warnings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from boresight.core.schema import Message, Preference
from boresight.core.wording import percent, plural
from boresight.llm.ledger import Ledger
from boresight.stats.quantiles import nearest_rank
from boresight.synthesis.filters import Sieve
from boresight.synthesis.judge import Judged
from boresight.synthesis.judge_config import RubricConfig, name_of
from boresight.synthesis.pairs import lengths
from boresight.synthesis.recipe import Decoding, SynthesisRecipe

EXAMPLES = 5
LINE_END = re.compile(r"\r\n?|\n")
"""Pattern of line endings in Markdown. Text after each of them must be indented to stay in a code block."""
LEAKY = 0.65
"""AUC of predicting the label by length, over all answers or within pairs, above which the card contains a
warning."""


@dataclass
class Tally:
    """Counts of prompts, answers and scores, updated as the judged rows are read."""

    prompts: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    judged: int = 0
    flips: int = 0
    both_orders: int = 0
    scores: Counter[float] = field(default_factory=Counter)

    def add(self, row: Judged) -> None:
        """Count one prompt with its judged answers."""
        self.prompts += 1
        for scored in row.scored:
            self.answers[scored.answer.source] += 1
            if scored.answer.reply.failure:
                self.failures[scored.answer.source, scored.answer.reply.failure] += 1
            if scored.score is not None:
                self.judged += 1
                self.scores[round(scored.score, 2)] += 1
        if row.flipped is not None:
            self.both_orders += 1
            self.flips += row.flipped


def card(
    recipe: SynthesisRecipe,
    tally: Tally,
    pairs: Sequence[Preference],
    sieve: Sieve,
    ledger: Ledger,
    identical: Sequence[str],
    unpriced: Sequence[str],
    incomplete: str | None,
) -> str:
    """Return the card as Markdown."""
    sections = [
        ["# Data card", *_summary(recipe, pairs, incomplete)],
        ["## Prompt sources", *_prompts(recipe, tally)],
        ["## Generators", *_answers(recipe, tally, identical)],
        ["## Judge", *_judge(recipe, tally)],
        ["## Length", *_length(pairs)],
        ["## Dropped", *_left_out(sieve)],
        ["## Cost", *_cost(ledger, unpriced)],
        ["## Examples", *_examples(pairs)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _summary(recipe: SynthesisRecipe, pairs: Sequence[Preference], incomplete: str | None) -> list[str]:
    lines = [
        "",
        f"{len(pairs):,} preference pairs, made by `boresight synthesize`; `config.yaml` beside this file is "
        "the whole recipe.",
    ]
    if recipe.leaking:
        lines += [
            "",
            "> **This data leaks its label.** Chosen and rejected answers were made differently "
            f"({_inline(recipe.leaking)}), so a model can distinguish them without regard to quality.",
        ]
    if incomplete:
        lines += ["", f"> **Incomplete**: {incomplete} was reached; the same command continues from here."]
    return lines


def _prompts(recipe: SynthesisRecipe, tally: Tally) -> list[str]:
    source, new = _inline(recipe.prompts.source), recipe.prompts.new
    if new is None:
        return ["", f"{plural(tally.prompts, 'prompt')} from {source}."]
    topics = f", on the topics {_inline(', '.join(new.topics))}" if new.topics else ""
    by = _inline(recipe.endpoints[new.by].model)
    return [
        "",
        f"{tally.prompts:,} new prompts of {new.count:,} wanted, by {by} ({_settings(new)}), in the style of "
        f"{source}, {new.shots} shown at a time{topics}.",
    ]


def _settings(decoding: Decoding) -> str:
    return ", ".join(f"{key} {value}" for key, value in decoding.params().items())


def _answers(recipe: SynthesisRecipe, tally: Tally, identical: Sequence[str]) -> list[str]:
    lines = ["", "| source | model | settings | answers | failed |", "|---|---|---|---|---|"]
    for name, section in recipe.answers.items():
        side = f", taken as {section.side}" if section.side else ""
        failed = {kind: n for (source, kind), n in tally.failures.items() if source == name}
        lines.append(
            f"| {name} | {_inline(recipe.endpoints[section.by].model)} | {_settings(section)}{side} | "
            f"{tally.answers[name]:,} | {_kinds(failed)} |"
        )
    for sentence in identical:
        lines += ["", f"> **Samples do not differ.** {_inline(sentence)}"]
    return lines


def _kinds(failed: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(failed.items())) or "none"


def _judge(recipe: SynthesisRecipe, tally: Tally) -> list[str]:
    if recipe.judge is None:
        return ["", "None: the sides follow from how the answers were made."]
    total = sum(tally.answers.values())
    name = f"`{name_of(recipe.judge)}` ({_inline(_judge_settings(recipe))})"
    lines = ["", f"{name} scored {tally.judged:,} of {total:,} answers."]
    if tally.both_orders:
        from boresight.stats.intervals import clopper_pearson

        low, high = clopper_pearson(tally.flips, tally.both_orders)
        lines.append(
            f"Shown in reverse order, best and worst changed places for {tally.flips:,} of "
            f"{tally.both_orders:,} prompts ({percent(tally.flips / tally.both_orders, 1)}, 95 % interval "
            f"{percent(low, 1)} to {percent(high, 1)})."
        )
    if tally.scores and len(tally.scores) <= 12:
        lines += ["", "| score | answers |", "|---|---|"]
        lines += [f"| {score:g} | {count:,} |" for score, count in sorted(tally.scores.items())]
    elif tally.scores:
        lines.append(_quantiles(tally.scores))
    return lines


def _judge_settings(recipe: SynthesisRecipe) -> str:
    """Describe the judge: its model, axes, scale and orders for a rubric, else its model, check or mode."""
    judge = recipe.judge
    if isinstance(judge, RubricConfig):
        axes = ", ".join(axis.name if axis.weight else f"{axis.name} (weight 0)" for axis in judge.axes)
        orders = "both orders" if judge.orders == 2 else "one order"
        return f"{recipe.endpoints[judge.by].model}; {axes}, 1 to {judge.scale}; {orders}"
    found = (getattr(judge, name, None) for name in ("model", "check", "mode"))
    return ", ".join(str(value) for value in found if value)


def _quantiles(scores: Counter[float]) -> str:
    found = nearest_rank(scores.elements(), (0, 0.1, 0.5, 0.9, 1))
    return "Scores: lowest {:g}, 10 % {:g}, median {:g}, 90 % {:g}, highest {:g}.".format(*found)


def _length(pairs: Sequence[Preference]) -> list[str]:
    if not pairs:
        return ["", "No pairs."]
    from boresight.stats.intervals import clopper_pearson

    found = lengths(pairs)
    low, high = clopper_pearson(found.chosen_longer, found.pairs)
    lines = [
        "",
        f"Chosen answers have {found.chosen:.1f} words on average, rejected ones {found.rejected:.1f}. The "
        f"chosen one is the longer in {found.chosen_longer:,} of {found.pairs:,} pairs "
        f"({percent(found.chosen_longer / found.pairs, 1)}, 95 % interval "
        f"{percent(low, 1)} to {percent(high, 1)}) and the shorter in "
        f"{found.chosen_shorter:,}. Guessing by length alone has an AUC of {found.auc:.3f}.",
    ]
    if max(abs(found.auc - 0.5), abs(found.within_pairs - 0.5)) > LEAKY - 0.5:
        lines += ["", "> **Length gives the label away**: lower `pairs.max_length_gap`."]
    return lines


def _left_out(sieve: Sieve) -> list[str]:
    if not sieve.counts:
        return ["", "Nothing."]
    lines = ["", "| what | count |", "|---|---|"]
    lines += [f"| {reason} | {count:,} |" for reason, count in sieve.counts.most_common()]
    for reason, examples in sieve.examples.items():
        lines += ["", f"{reason[0].upper()}{reason[1:]}, for instance:", ""]
        lines += [f"- {_inline(example)}" for example in examples]
    return lines


def _cost(ledger: Ledger, unpriced: Sequence[str]) -> list[str]:
    spent = ledger.spent()
    lines = ["", "| stage | model | responses | tokens | dollars |", "|---|---|---|---|---|"]
    lines += [
        f"| {stage} | {_inline(model)} | {n:,} | {tokens:,} | {_dollars(usd, model in unpriced)} |"
        for stage, model, n, tokens, usd in ledger.costs()
    ]
    lines += ["", f"{spent.requests:,} requests were sent, failed ones included."]
    if spent.lost_tokens:
        lines.append(
            f"Up to {spent.lost_tokens:,} further tokens (${spent.lost_usd:.4f}) may have been billed for "
            "requests without a response; the budget counts them."
        )
    for model, responses, why in ledger.estimates():
        lines.append(
            f"The tokens of {responses:,} responses of {_inline(model)} are an estimate, and a high one: the "
            f"server reported {_inline(why)}."
        )
    if unpriced:
        lines.append(f"The price of {', '.join(map(_inline, unpriced))} is not known.")
    return lines


def _dollars(usd: float, unknown: bool) -> str:
    return "unknown" if unknown else f"{usd:.4f}"


def _examples(pairs: Sequence[Preference]) -> list[str]:
    lines: list[str] = []
    step = max(1, len(pairs) // EXAMPLES)
    for pair in pairs[::step][:EXAMPLES]:
        lines += ["", f"### {_inline(pair.id)}", ""]
        parts = (
            ("Prompt", pair.prompt, None),
            ("Chosen", pair.chosen, pair.chosen_score),
            ("Rejected", pair.rejected, pair.rejected_score),
        )
        for title, turns, score in parts:
            scored = "" if score is None else f" ({score:g})"
            lines += [f"**{title}**{scored}", "", _quoted(turns), ""]
    return lines


def _inline(text: str) -> str:
    """Return untrusted text on one line, escaped so that it forms no Markdown tables, tags or links."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def _quoted(turns: Sequence[Message]) -> str:
    """Return untrusted text as an indented block, which Markdown shows literally."""
    text = "\n\n".join(m["content"] for m in turns)
    return "\n".join(f"    {line}" for line in LINE_END.split(text))
