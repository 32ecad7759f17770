"""Topics of prompts with a constraint: 60 for training, 20 for validation, 100 for testing.

The demo's pairs and prompts use the first 44 training topics and the first 16 validation topics.
"""

from __future__ import annotations

# fmt: off
DEMO_TRAIN_TOPICS = [
    "the moon", "bread", "bicycles", "volcanoes", "libraries", "penguins", "rivers", "coffee", "guitars",
    "trains", "bridges", "gardens", "mirrors", "clocks", "candles", "castles", "butterflies", "dolphins",
    "elephants", "owls", "frogs", "horses", "cats", "forests", "deserts", "snow", "rainbows", "chocolate",
    "apples", "soup", "cheese", "rice", "pizza", "books", "maps", "kites", "paintings", "pianos", "museums",
    "schools", "markets", "airports", "balloons", "telescopes",
]

DEMO_HELDOUT_TOPICS = [
    "lighthouses", "tea", "whales", "mountains", "honey", "drums", "trees", "umbrellas", "islands",
    "tigers", "windmills", "oranges", "the sun", "dogs", "turtles", "ice cream",
]

TRAIN_TOPICS = [
    *DEMO_TRAIN_TOPICS,
    "lions", "ducks", "sheep", "squirrels", "peaches", "cherries", "potatoes", "mushrooms", "ladders",
    "bells", "boats", "tents", "valleys", "storms", "farms", "stories",
]

VALIDATION_TOPICS = [*DEMO_HELDOUT_TOPICS, "goats", "pears", "windows", "trucks"]
"""Topics of the validation prompts, on which learning rates, lengths and other settings are tuned."""

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
"""Topics of the test prompts, on which no learning rate, length or other setting is tuned."""
# fmt: on
