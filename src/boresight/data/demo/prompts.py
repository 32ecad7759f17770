"""Prompts of the demo: topics times tasks, each task with one constraint."""

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
"""Requests that the start model fulfils sometimes and not always, so that pairs exist."""

# fmt: off
TRAIN_TOPICS = [
    "the moon", "bread", "bicycles", "volcanoes", "libraries", "penguins", "rivers", "coffee", "guitars",
    "trains", "bridges", "gardens", "mirrors", "clocks", "candles", "castles", "butterflies", "dolphins",
    "elephants", "owls", "frogs", "horses", "cats", "forests", "deserts", "snow", "rainbows", "chocolate",
    "apples", "soup", "cheese", "rice", "pizza", "books", "maps", "kites", "paintings", "pianos", "museums",
    "schools", "markets", "airports", "balloons", "telescopes",
]

HELDOUT_TOPICS = [
    "lighthouses", "tea", "whales", "mountains", "honey", "drums", "trees", "umbrellas", "islands",
    "tigers", "windmills", "oranges", "the sun", "dogs", "turtles", "ice cream",
]

TEST_TOPICS = [
    "the ocean", "lemons", "trumpets", "subways", "fountains", "foxes", "lakes", "juice", "violins",
    "ships", "tunnels", "parks", "lamps", "calendars", "fireworks", "palaces", "bees", "sharks",
    "giraffes", "eagles", "snakes", "cows", "rabbits", "jungles", "caves", "rain", "clouds", "cookies",
    "bananas", "salad", "butter", "pasta", "sandwiches", "newspapers", "globes", "puppets",
    "sculptures", "flutes", "theaters", "hospitals", "bakeries", "harbors", "airplanes", "microscopes",
    "the stars", "carrots", "tomatoes", "waterfalls", "glaciers", "beaches", "sunflowers", "roses",
    "ants", "spiders", "parrots", "swans", "wolves", "bears", "monkeys", "kangaroos", "camels", "crabs",
    "seashells", "pumpkins", "strawberries", "grapes", "pancakes", "yogurt", "noodles", "popcorn",
    "blankets", "pillows", "shoes", "hats", "gloves", "rings", "keys", "pencils", "envelopes",
    "puzzles", "chess", "football", "swimming", "skiing", "camping", "fishing", "dancing",
    "photography", "cameras", "radios", "robots", "rockets", "tractors", "buses", "canoes", "elevators",
    "statues", "pyramids", "wells", "fences",
]
"""Topics of the 400 test prompts, which no rate, length or other setting is chosen by."""
# fmt: on


def prompts(topics: Sequence[str]) -> list[Prompt]:
    """Every task about every topic; `meta` holds the topic and the constraint, for the checks."""
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
        for task, constraint in TASKS
    ]
