"""Answer a few held-out prompts at every evaluation, to measure whether answers end, loop or become longer.

The answers are stored in `probes.jsonl` of the run folder, one line per answer, so that a report can show how
answers changed during training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.core.files import append_jsonl, read_jsonl
from boresight.core.schema import Prompt
from boresight.data.tokenizer import Tokenizer
from boresight.findings.questions import LONGEST_PROBE
from boresight.models.policy import Policy
from boresight.models.sampler.generate import generate
from boresight.models.sampler.params import Sample, SamplingParams
from boresight.stats.paired import ByRow, DuplicatePrompts, one_per_prompt, standard_error_of_known
from boresight.training.distributed import collectives

FILE = "probes.jsonl"
LONGEST_PERIOD, LEAST_LOOPED, LEAST_TURNS = 16, 16, 3


@dataclass(frozen=True)
class AnswerProbe:
    """Probe that generates greedy answers of the policy in its current state to fixed prompts."""

    policy: Policy
    tokenizer: Tokenizer
    prompts: Sequence[Prompt]
    params: SamplingParams
    folder: Path

    def __call__(self, step: int) -> ByRow:
        """Write the answers to the run folder, and return their metrics (`measured`)."""
        samples = generate(self.policy, self.tokenizer, [p.prompt for p in self.prompts], self.params)
        answers = [(p.id, group[0]) for p, group in zip(self.prompts, samples, strict=True)]
        if collectives.is_first():
            self._keep(step, answers)
        return measured(answers)

    def _keep(self, step: int, answers: Sequence[tuple[str, Sample]]) -> None:
        if any(line.get("step") == step for line in read_jsonl(self.folder / FILE)):
            return  # measured again: a checkpoint holds the hash of the log, which must not change
        lines = [{"step": step, "id": id, "answer": s.text.strip(), "finish": s.finish} for id, s in answers]
        append_jsonl(self.folder / FILE, lines)


def answer_probe(
    recipe: Recipe, policy: Policy, tokenizer: Tokenizer, asked: Sequence[Prompt], folder: Path
) -> list[AnswerProbe]:
    """Return the probe on `check.probes` prompts; empty if a held-out reward generates answers already."""
    asked = asked[: recipe.check.probes]
    if recipe.reward or not asked:
        return []
    longest = min(LONGEST_PROBE, recipe.evaluate.max_new_tokens)
    params = SamplingParams(max_new_tokens=longest, temperature=0.0, seed=0)
    return [AnswerProbe(policy, tokenizer, asked, params, folder)]


def measured(answers: Iterable[tuple[str, Sample]]) -> ByRow:
    """Return metrics of answers, each by prompt id.

    `stopped_share`: the answer stopped by itself; `repetition_share`: it ends in a loop; `distinct_share`: it
    differs from all others (each 1 for yes, 0 for no). `answer_len`: its number of tokens.
    """
    answers = list(answers)
    said = Counter(s.text.strip() for _, s in answers)
    return {
        "stopped_share": {id: float(s.finish == "stop") for id, s in answers},
        "repetition_share": {id: float(has_loop(s.ids.tolist())) for id, s in answers},
        "distinct_share": {id: float(said[s.text.strip()] == 1) for id, s in answers},
        "answer_len": {id: float(len(s.ids)) for id, s in answers},
    }


def support(by_row: ByRow, same: DuplicatePrompts | None = None) -> dict[str, float]:
    """Return the number of prompts that a probe measured, and the standard errors of its means.

    Args:
        same: ids of equal prompts.
    """
    if "stopped_share" not in by_row:
        return {}
    averaged = ("answer_len", "reward", "stopped_share")
    found = {name: one_per_prompt(by_row[name], same or {}).values() for name in averaged if name in by_row}
    answers = float(len(found.pop("stopped_share")))
    return {"answers": answers} | {
        f"{name}_error": standard_error_of_known(values) for name, values in found.items()
    }


def has_loop(ids: Sequence[int]) -> bool:
    """Return whether a text ends in the same few tokens over and over.

    A loop is a period of up to 16 tokens that fills at least the last 16 tokens, and occurs at least three
    times.
    """
    for period in range(1, min(LONGEST_PERIOD, len(ids) // LEAST_TURNS) + 1):
        needed = max(LEAST_LOOPED, LEAST_TURNS * period)
        tail = ids[-needed:]
        if len(tail) == needed and all(tail[i] == tail[i - period] for i in range(period, needed)):
            return True
    return False
