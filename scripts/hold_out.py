"""Cut a file of pairs in two by prompt, so that more than a fifth of a small set can be held out.

    python scripts/hold_out.py PAIRS TRAIN.jsonl HELD_OUT.jsonl --held-out 400 --longest 256

Only rows whose prompt and longer answer fit into `--longest` tokens of the starter model are written; a
prompt never falls on both sides. Seeded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from boresight.data.reading.load import read
from boresight.data.tokenize import tokenize
from boresight.data.write import write_examples
from boresight.models.load import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--held-out", type=int, default=400, dest="count")
    parser.add_argument("--longest", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    examples = read(args.pairs, kind="preference", bad_rows="drop").examples
    fitting = {row.id for row in tokenize(examples, load_tokenizer("starter"), max_length=args.longest).rows}
    by_prompt: dict[str, list] = {}
    for example in examples:
        if example.id in fitting:
            by_prompt.setdefault(repr(example.prompt), []).append(example)
    groups = list(by_prompt.values())
    held_out, train = [], []
    for index in np.random.default_rng(args.seed).permutation(len(groups)):
        (held_out if len(held_out) < args.count else train).extend(groups[index])
    write_examples(train, args.train)
    write_examples(held_out, args.held_out)
    print(f"{args.train}: {len(train)} pairs; {args.held_out}: {len(held_out)} pairs")


if __name__ == "__main__":
    main()
