"""A loss of your own: named by its import path, it trains, resumes and reports like the built-in ones.

python examples/custom_loss.py [RUN_FOLDER]
"""

import sys

import boresight

METHOD = {"name": "losses.capped", "beta": 0.1, "cap": 5.0}


def main(folder: str = "runs/example-capped") -> None:
    # As a script's own folder is on Python's path, examples/losses/capped.py is `losses.capped` here.
    run = boresight.train("demo", run=folder, method=METHOD)

    # What a loss returns as metrics is logged with the rest.
    steps, reached = run.series("reached")
    print(f"at step {steps[-1]}, {reached[-1]:.0%} of the pairs had reached {METHOD['cap']} nats")
    print(boresight.explain(run.folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
