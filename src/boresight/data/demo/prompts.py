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
"""Tasks of the demo, each with its constraint.

The start model meets each constraint in some of its samples and fails it in others, so that preference pairs
can be built.
"""

HARDER_TASKS: tuple[tuple[str, Constraint], ...] = (
    ("Describe {topic} in one sentence.", Constraint("word_range", {"low": 19, "high": 20})),
    ("Tell me about {topic} in one sentence.", Constraint("commas", {"n": 3})),
    ("Write about {topic}.", Constraint("sentences", {"n": 3})),
    ("Explain in one sentence how {topic} can change.", Constraint("ends_with", {"phrase": "over time."})),
)
"""Tasks whose constraint the start model meets in 2 to 10 % of its samples.

The measured shares are in `docs/demo-data.md`.
"""


def prompts(topics: Sequence[str], tasks: Sequence[tuple[str, Constraint]] = TASKS) -> list[Prompt]:
    """Make one prompt per topic and task; `meta` contains the topic and the constraint, for the verifier."""
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
