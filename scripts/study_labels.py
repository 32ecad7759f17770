"""Labeled answers for the offline arms of `boresight study --scale laptop`, in the forms that the arms read.

    python scripts/study_labels.py                     # of the start model, seeds 0 to 3 and validation
    python scripts/study_labels.py --model MODELS/other --prefix off-policy-

`boresight synthesize recipes/study/laptop/synth-labels.yaml` samples the answers and asks the verifier. From
its folder come

    pairs-SEED.jsonl.gz     good answers beside others of like length, as synthesize pairs them
    good-SEED.jsonl.gz      all good answers, to imitate
    labels-SEED.jsonl.gz    all answers that ended, good or not

and `validation-…` the same about the validation topics. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from boresight.core.schema import Demonstration, Labeled
from boresight.data.reading.load import read
from boresight.data.write import write_examples
from boresight.synthesis.recipe import SynthesisRecipe
from boresight.synthesis.run import run_synthesis

RECIPE = Path("recipes/study/laptop/synth-labels.yaml")
OUT = Path("docs/study/laptop/labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter", help="whose answers")
    parser.add_argument("--prefix", default="", help="before the names of the files")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--no-validation", action="store_true")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        draw = [f"seed={seed}", f"answers.policy.seed={1000 * seed}"]
        make(f"{args.prefix}{{kind}}-{seed}", args.model, draw)
    if not args.no_validation:
        make("validation-{kind}", args.model, ["prompts.source=generate:constraints-validation"])


def make(name: str, model: str, changes: list[str]) -> None:
    """Sample and label answers, and write them in three forms; `{kind}` in the name stands for the form."""
    folder = Path("runs/study-labels") / name.format(kind="of")
    recipe = SynthesisRecipe.load(RECIPE, [f"endpoints.policy.model={model}", *changes])
    made = run_synthesis(recipe, folder, Console(stderr=True))
    labeled = list(labeled_answers(folder / "answers.jsonl"))
    good = [answer for answer in labeled if answer.label]
    examples = {
        "pairs": read(made.file).examples,
        "good": [Demonstration([*a.prompt, *a.completion], a.id, a.meta) for a in good],
        "labels": labeled,
    }
    for kind, rows in examples.items():
        write_examples(rows, OUT / f"{name.format(kind=kind)}.jsonl.gz")
    calls = sum(len(json.loads(line)["answers"]) for line in lines_of(folder / "answers.jsonl"))
    counts = f"{calls:,} answers, {len(labeled):,} ended, {len(good)} good, {made.pairs} pairs"
    print(f"{name.format(kind='…')}: {counts}")


def labeled_answers(path: Path) -> Iterator[Labeled]:
    """Answers with a verdict; one that was cut at the limit of tokens has none."""
    for line in lines_of(path):
        row = json.loads(line)
        for number, answer in enumerate(row["answers"]):
            if answer.get("score") is not None:
                completion = [{"role": "assistant", "content": answer["text"]}]
                label = answer["score"] == 1.0
                yield Labeled(row["prompt"], completion, label, f"{row['id']}-{number}")


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
