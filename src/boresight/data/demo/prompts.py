"""Prompts with a checkable constraint, one per topic and task. The demo uses the first four tasks."""

from __future__ import annotations

from collections.abc import Sequence

from boresight.core.schema import Prompt
from boresight.tasks.constraints.constraint import Constraint

TASKS: tuple[tuple[str, Constraint], ...] = (
    ("Describe {topic} in one sentence.", Constraint("max_words", {"n": 15})),
    ("Describe {topic} in one or two sentences.", Constraint("avoids", {"word": "the"})),
    ("Tell me about {topic} in one sentence.", Constraint("starts_with", {"phrase": "Did you know"})),
    ("Explain in one sentence why people like {topic}.", Constraint("includes", {"word": "because"})),
)
"""The demo's requests. The start model fulfills some samples of each and fails others, so that pairs
exist."""

HARDER_TASKS: tuple[tuple[str, Constraint], ...] = (
    ("Describe {topic} in one sentence.", Constraint("word_range", {"low": 19, "high": 20})),
    ("Tell me about {topic} in one sentence.", Constraint("commas", {"n": 3})),
    ("Write about {topic}.", Constraint("sentences", {"n": 3})),
    ("Explain in one sentence how {topic} can change.", Constraint("ends_with", {"phrase": "over time."})),
)
"""Requests that the start model fulfills in 2 to 10 % of samples: `docs/demo-data.md` has the measured
shares."""


def prompts(topics: Sequence[str], tasks: Sequence[tuple[str, Constraint]] = TASKS) -> list[Prompt]:
    """One prompt per topic and task; `meta` holds the topic and the constraint, for the checks."""
    return [
        Prompt(
            prompt=[{"role": "user", "content": f"{task.format(topic=topic)} {constraint.instruction()}"}],
            id=f"{constraint.kind}-{topic.replace(' ', '-')}",
            meta={
                "topic": topic,
                "constraint": {"kind": constraint.kind, "params": constraint.params},
            },
        )
        for topic in topics
        for task, constraint in tasks
    ]
