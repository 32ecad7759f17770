"""Short logs for the live checks, a value a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from boresight.findings.history import History

Values = Mapping[str, Sequence[float]]


def logged(train: Values = {}, held: Values = {}, steps: int = 0, eval_rows: int = 400) -> History:  # noqa: B006
    """A history of training values from step 1 on, and of held-out values at steps 10, 20 and so on.

    `steps` is the planned length; the length of the log where it is 0.
    """
    history = History(steps, eval_rows)
    for split, values, every in (("train", train, 1), ("eval", held, 10)):
        for index in range(max(map(len, values.values()), default=0)):
            line = {name: some[index] for name, some in values.items() if index < len(some)}
            history.add((index + 1) * every, split, line)
    history.steps = steps or history.step
    return history
