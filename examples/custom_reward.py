"""A reward of your own: a model of 0.87M parameters learns arithmetic puzzles, then to be brief.

python examples/custom_reward.py [FOLDER]
"""

import sys

import boresight

SFT = "countdown-tiny/sft"
RLOO = "countdown-tiny/rloo"


def brief(prompts: list, completions: list[str], rows: list[dict]) -> list[float | None]:
    """1 for no words, falling to 0 at 48; None, which is missing and no zero, without text.

    The three lists have one entry a completion; `rows` carries each problem's numbers and target.
    """
    return [1 - len(text.split()) / 48 if text.strip() else None for text in completions]


def main(folder: str = "runs/example-rewards") -> None:
    start = boresight.train(SFT, run=f"{folder}/sft")

    # A right answer counts 1, a short one a little. Both are logged, so that one cannot rise unseen
    # while the other falls.
    rewards = [
        {"function": "countdown_correct", "weight": 1.0},
        {"function": "custom_reward:brief", "weight": 0.1},
    ]
    run = boresight.train(RLOO, run=f"{folder}/rloo", model={"name": str(start.folder)}, reward=rewards)

    print(run.metric("reward").difference)
    print(boresight.explain(run.folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
