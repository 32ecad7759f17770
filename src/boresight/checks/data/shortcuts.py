"""Check for shortcuts: what a model could learn, or a metric measure, in place of the preference.

Shortcuts are duplicates, length and phrases. The checks read every example, except `prompts_shuffled` and
`foreign_answers`, which read up to `SAMPLE` of them.
"""

from __future__ import annotations

import math

import numpy as np

from boresight.checks.data import text
from boresight.checks.data.examples import FEWEST, SAMPLE, Examples, said
from boresight.core.schema import Demonstration, Labeled, Preference
from boresight.core.wording import percent
from boresight.data.reading.same_prompt import prompt_key
from boresight.findings.finding import Finding, graded, note, warning

SURE = 2.5
"""Number of standard errors by which a mean must differ from another value to differ significantly."""
USUAL_OVERLAP = 0.1
"""Overlap gap (`text.overlap_gaps`) above which answers count as belonging to their prompts.

It is 0.13 to 0.20 in the demo's pairs, and 0.00 to 0.02 once they are shuffled.
"""


def train_eval_overlap(data: Examples) -> Finding | None:
    """Return the finding `train-eval-overlap` if held-out prompts are also trained on, else None."""
    ids = [e.id for e in data.eval if prompt_key(e) in data.trained_keys]
    if not ids:
        return None
    share = len(ids) / len(data.eval)
    return graded(
        "train-eval-overlap",
        share,
        0.05,
        f"{len(ids):,} of {len(data.eval):,} held-out examples ({percent(share)}) have a prompt that is "
        "also trained on, so held-out numbers measure memory.",
        "Remove these prompts from one split, or omit data.eval: the split keeps equal prompts together.",
        ids=ids,
    )


def evaluate_prompts_overlap(data: Examples) -> Finding | None:
    """Return the finding `evaluate-prompts-overlap` if `evaluate.prompts` are trained on, else None."""
    ids = [e.id for e in data.asked if prompt_key(e) in data.trained_keys]
    if not ids:
        return None
    share = len(ids) / len(data.asked)
    return warning(
        "evaluate-prompts-overlap",
        f"{len(ids):,} of {len(data.asked):,} prompts of evaluate.prompts ({percent(share)}) are also "
        "trained on, so the answers to them measure memory.",
        "Remove these prompts from the training data or from evaluate.prompts.",
        ids=ids,
    )


def prompts_shuffled(data: Examples) -> Finding | None:
    """Return the finding `prompts-shuffled` if answers seem to belong to other prompts, else None.

    The statistic is the mean over up to `SAMPLE` rows of the share of the own prompt's words that the answer
    repeats, minus the same share for the prompt of the next row; rare words weigh more. There is a finding
    only if, in every column of answers, the mean is at most `SURE` standard errors above 0 and at least as
    many below `USUAL_OVERLAP`. There is none with few rows, or if another column of answers shares
    words with its prompts. Data whose answers never share a word with their prompt look like shuffled data,
    which is why this is a warning.
    """
    paired = _prompts_and_answers(data)
    if len(paired) < 2 * FEWEST:
        return None
    columns = (
        {"chosen": paired, "rejected": _prompts_and_answers(data, rejected=True)}
        if data.pairs
        else {"": paired}
    )
    compared = []
    for name, rows in columns.items():
        gaps = text.overlap_gaps(rows)
        mean, noise = float(gaps.mean()), SURE * float(gaps.std()) / math.sqrt(len(gaps))
        if not noise or mean > noise or mean + noise > USUAL_OVERLAP:
            return None
        compared.append(f"{f'{name} ' * bool(name)}{100 * mean:+.1f} ± {100 * noise:.1f}")
    whose = "neither the chosen nor the rejected answers" if data.pairs else "answers do not"
    return warning(
        "prompts-shuffled",
        f"In {len(paired):,} sampled examples {whose} repeat more words of their own prompt (its last turn, "
        "rare words weigh more) than of another example's, as if prompts and answers had been shuffled; "
        f"difference in percentage points: {', '.join(compared)}.",
        "Read a few rows with `boresight data show`, and check how the file was joined.",
        count=len(paired),
    )


def length_leak(data: Examples) -> Finding | None:
    """Return the finding `length-leak` if the length of an answer predicts its label, else None."""
    read = _longer_of_labeled(data) if data.labeled else _longer_of_pairs(data)
    if read is None:
        return None
    auc, noise, (better, worse), among, count = read
    far = abs(auc - 0.5)
    if far < 0.1 or far < noise:
        return None
    side, word = (better, "longer") if auc > 0.5 else (worse, "shorter")
    return warning(
        "length-leak",
        f"The {side} answer is the longer one in {percent(max(auc, 1 - auc))} of {among}: a rule that "
        "reads only the length would be as accurate, so the model will learn length.",
        f"Expect {word} answers. Balance the lengths of both sides. Or, if {word} answers are the aim, set "
        "train.guard.length=null: the guard stops a run whose answers become half or twice as long.",
        count=count,
        numbers=(("auc", auc),),
    )


Longer = tuple[float, float, tuple[str, str], str, int]
"""How often the better answer is the longer one.

The fields are: share of comparisons in which the better answer is longer, half-width of the 95 % interval
around chance, names of the better and the worse side, the comparisons as text, and number of rows.
"""


def _longer_of_pairs(data: Examples) -> Longer | None:
    if len(data.pairs) < FEWEST:
        return None
    lengths = np.array([(len(a), len(b)) for a, b in data.answers])
    auc = float((np.sign(lengths[:, 0] - lengths[:, 1]) + 1).mean() / 2)
    count = len(lengths)
    return auc, 0.98 / math.sqrt(count), ("chosen", "rejected"), f"{count:,} pairs", count


def _longer_of_labeled(data: Examples) -> Longer | None:
    """Compare the length of every good answer with that of every bad one (Mann and Whitney)."""
    good, bad = (
        [len(said(e.completion)) for e in data.labeled if e.label is label] for label in (True, False)
    )
    if min(len(good), len(bad)) < FEWEST:
        return None
    smaller = np.searchsorted(np.sort(bad), good, "left") + np.searchsorted(np.sort(bad), good, "right")
    auc = float(smaller.mean() / 2 / len(bad))
    noise = 1.96 * math.sqrt((len(good) + len(bad) + 1) / (12 * len(good) * len(bad)))
    among = f"comparisons of {len(good):,} good with {len(bad):,} bad answers"
    return auc, noise, ("good", "bad"), among, len(data.labeled)


def boilerplate(data: Examples) -> Finding | None:
    """Return the finding `boilerplate` if a phrase reveals the label, else None.

    Phrases are openings, endings and refusals (`text.predictive_phrases`).
    """
    if len(data.pairs) < FEWEST:
        return None
    found = text.predictive_phrases(data.answers)
    if not found:
        return None
    best, *others = found
    named = [f"{p.text!r} ({p.side}, {percent(p.share)} against {percent(p.other)})" for p in others[:3]]
    more = f", and {len(others) - 3:,} more" if len(others) > 3 else ""
    return warning(
        "boilerplate",
        f"{percent(best.share)} of {len(data.pairs):,} {best.side} answers carry {best.text!r} against "
        f"{percent(best.other)} of the others, so the phrase reveals the label."
        + (f" Also {', '.join(named)}{more}." if named else ""),
        "Remove the phrases from both sides, or the pairs that have them.",
        count=round(best.share * len(data.pairs)),
    )


def near_identical_pairs(data: Examples) -> Finding | None:
    """Return the finding `near-identical-pairs` if at least 5 % of pairs are almost equal, else None.

    Almost equal answers differ in less than a tenth of their characters (`text.distance`).
    """
    close = [
        p.id
        for p, (a, b) in zip(data.pairs, data.answers, strict=True)
        if a.split() != b.split() and text.distance(a, b) < 0.1
    ]
    share = len(close) / max(1, len(data.pairs))
    if share < 0.05 or len(data.pairs) < FEWEST:
        return None
    return warning(
        "near-identical-pairs",
        f"{len(close):,} of {len(data.pairs):,} pairs ({percent(share)}) differ in less than a tenth of "
        "their text; such pairs make the chosen answer less likely too (arXiv 2402.13228).",
        "Remove them, or set method.dpop_lambda.",
        ids=close,
    )


def foreign_answers(data: Examples) -> Finding | None:
    """Return the finding `foreign-answers` if at least 5 % of answers change the script, else None.

    The script, such as Cyrillic or Latin, is compared with that of the prompt.
    """
    paired = _prompts_and_answers(data)
    odd = [p for p in paired if text.script(p[1]) != text.script(p[2]) and text.script(p[2])]
    odd = [p for p in odd if text.script(p[1])]
    share = len(odd) / max(1, len(paired))
    if share < 0.05 or len(paired) < FEWEST:
        return None
    return warning(
        "foreign-answers",
        f"{percent(share)} of {len(paired):,} sampled answers are in another script than their prompt.",
        "Filter by language, unless translation is the task.",
        ids=[id for id, _, _ in odd],
    )


def duplicated_prompts(data: Examples) -> Finding | None:
    """Return the finding `duplicated-prompts` if at least 1 % of examples repeat a prompt, else None.

    A labeled answer counts only if both its prompt and the answer are repeated.
    """
    answers = [said(example.completion) for example in data.labeled] or [""] * len(data.prompts)
    total = len(data.prompts)
    repeats = total - len(set(zip(data.prompts, answers, strict=True)))
    share = repeats / max(1, total)
    if share < 0.01 or total < FEWEST:
        return None
    say = warning if share > 0.2 else note
    what, fix = "prompt", "Keep one example per prompt, unless several answers per prompt are intended."
    if data.labeled:
        what, fix = "prompt with its answer", "Keep one of each."
    return say(
        "duplicated-prompts",
        f"{repeats:,} of {total:,} examples ({percent(share)}) repeat an earlier {what}, so there is less "
        "data than it seems.",
        fix,
        count=repeats,
    )


def nothing_held_out(data: Examples) -> Finding | None:
    """Return the finding `nothing-held-out` if rows should be held out and there are none, else None."""
    if data.eval or not data.shortage:
        return None
    return warning(
        "nothing-held-out",
        f"No row is held out, so nothing is measured on rows that were not trained on: {data.shortage}.",
        "Name a held-out file with data.eval, add rows with other prompts, raise data.eval_rows to the rows "
        "of one prompt (at most a fifth of all rows), or set it to 0.",
    )


def eval_too_small(data: Examples) -> Finding | None:
    """Return the finding `eval-too-small` if there are 1 to 99 held-out examples, else None.

    The interval of a share is then wider than any likely effect.
    """
    if not 0 < len(data.eval) < 100:
        return None
    reach = 0.98 / math.sqrt(len(data.eval))
    return note(
        "eval-too-small",
        f"{len(data.eval):,} held-out examples give a share a 95 % interval of about ±{percent(reach)}.",
        "Name a larger held-out file with data.eval, or add training rows, of which at most a fifth is held "
        "out (data.eval_rows is the limit); 400 held-out rows give ±5 points.",
        count=len(data.eval),
    )


def examples_sampled(data: Examples) -> Finding | None:
    """Return the finding `examples-sampled` if text was checked on a sample of the data, else None.

    That is so if all training examples exceed the memory limit.
    """
    total = len(data.trained_on)
    if len(data.train) == total:
        return None
    return note(
        "examples-sampled",
        f"The checks of text read {len(data.train):,} of {total:,} training examples, all those of some "
        "prompts; held-out prompts were compared with all training prompts.",
        "Nothing needs to be done; `boresight data check` reads every row.",
        count=len(data.train),
    )


def _prompts_and_answers(data: Examples, *, rejected: bool = False) -> list[tuple[str, str, str]]:
    """Return `(id, last user turn, answer)` of up to `SAMPLE` evenly spaced training examples.

    The answer of a pair is the chosen one. With `rejected` it is the rejected one, and examples that are not
    pairs are skipped.
    """
    step = max(1, len(data.train) // SAMPLE)
    found = []
    for example in data.train[::step][:SAMPLE]:
        if isinstance(example, Preference):
            answer = example.rejected if rejected else example.chosen
            found.append((example.id, example.prompt[-1]["content"], said(answer)))
        elif rejected:
            continue
        elif isinstance(example, Labeled):
            found.append((example.id, example.prompt[-1]["content"], said(example.completion)))
        elif isinstance(example, Demonstration) and len(example.messages) > 1:
            found.append((example.id, example.messages[-2]["content"], example.messages[-1]["content"]))
    return found
