"""Which of two runs is better, and how many prompts would decide it? Paired by prompt, from what the folders
hold.

python examples/two_runs.py RUN_A RUN_B
"""

import sys

import boresight
from boresight.stats.intervals import mcnemar, n_to_resolve, paired_difference


def passed(folder: str) -> dict[str, bool]:
    """By prompt: does the answer after training meet every check that the prompt carries?"""
    run = boresight.report(folder)
    return {s.id: all(s.checks[-1].values()) for s in run.samples if s.checks[-1]}


def main(a: str, b: str, out: str = "two-runs.html") -> None:
    in_a, in_b = passed(a), passed(b)
    if not in_a.keys() & in_b.keys():
        sys.exit("The runs share no prompt with checks; compare their answers with `boresight evaluate`.")

    difference = paired_difference(in_a, in_b)
    test = mcnemar(in_a, in_b)
    print(f"{b} minus {a}: {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]")
    print(f"only {a}: {test.only_a}, only {b}: {test.only_b}, p = {test.p:.2g} (exact)")
    if not difference.excludes_zero and difference.value:
        # The standard deviation of the difference by prompt: both right or both wrong counts 0.
        spread = ((test.only_a + test.only_b) / difference.n - difference.value**2) ** 0.5
        needed = n_to_resolve(difference.value, spread)
        print(f"not significant; a difference of this size needs {needed:,} prompts")
    print(boresight.compare(a, b, out=out).page)


if __name__ == "__main__":
    main(*sys.argv[1:])
