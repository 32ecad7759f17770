"""DPO on the demo's pairs: ask whether it can work, train, and read what came of it.

python examples/dpo.py [RUN_FOLDER]
"""

import sys

import boresight

RECIPE = "demo"
CHANGES = {"method": {"beta": 0.1}, "optim": {"lr": 2e-4}, "train": {"steps": 30}}


def main(folder: str = "runs/example-dpo") -> None:
    report = boresight.check(RECIPE, **CHANGES)
    print(report)
    if report.errors:
        sys.exit("The run cannot work as it is; see above.")

    run = boresight.train(RECIPE, run=folder, **CHANGES)

    accuracy = run.metric("accuracy").difference
    said = "significant" if accuracy.excludes_zero else "not significant"
    print(f"accuracy: {accuracy.value:+.3f} [{accuracy.low:+.3f}, {accuracy.high:+.3f}], {said}")
    for step, margin in zip(*run.series("margin", "eval"), strict=True):
        print(f"step {step:3}: held-out margin {margin:.2f} nats")
    for sample in run.samples[:2]:
        question, (before, after) = sample.prompt[-1]["content"], sample.answers
        print(f"\n{question}\n  before: {before}\n  after:  {after}")


if __name__ == "__main__":
    main(*sys.argv[1:])
