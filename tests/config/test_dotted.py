"""Nested dictionaries by dotted keys."""

import pytest

from boresight.config.dotted import differences, flat, read_value


def test_flat_reaches_every_level_and_leaves_out_empty_sections():
    tree = {"optim": {"lr": 1e-4, "betas": [0.9, 0.99]}, "model": {"lora": {"r": 4}}, "reward": {}, "seed": 0}
    assert flat(tree) == {"optim.lr": 1e-4, "optim.betas": [0.9, 0.99], "model.lora.r": 4, "seed": 0}
    assert flat({"a": 1}, "data.") == {"data.a": 1}


def test_flat_keeps_mappings_that_are_values():
    tree = {"optim": {"lr": {"low": 1, "high": 2}}}
    assert flat(tree, is_value=lambda mapping: "low" in mapping) == {"optim.lr": {"low": 1, "high": 2}}


def test_differences_hold_one_value_per_tree_and_skip_equal_ones():
    trees = [{"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"b": 1}, "d": None}]
    assert differences(*trees) == {"a.c": [2, 3, None]}
    assert differences(*trees, absent="") == {"a.c": [2, 3, ""], "d": ["", "", None]}


def test_a_section_in_place_of_null_differs_in_its_fields():
    assert differences({"lora": None}, {"lora": {"r": 4}}) == {"lora.r": [None, 4]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-6", "2e-6"),
        ("2.0e-6", 2e-6),
        ("null", None),
        ("", None),
        ("[1, 2]", [1, 2]),
        ("{r: 8}", {"r": 8}),
        ("r: 8", {"r": 8}),
        ("optim.lr: 8", {"optim.lr": 8}),
        ("{generate.temperature: 1}", {"generate.temperature": 1}),
        ("[v2]/p.jsonl", "[v2]/p.jsonl"),
        ("@corp/p.jsonl", "@corp/p.jsonl"),
        ("#1/p.jsonl", "#1/p.jsonl"),
        ("pairs/100% pairs: new.jsonl", "pairs/100% pairs: new.jsonl"),
        ("*.jsonl", "*.jsonl"),
        ("[", "["),
        ("{{ model }}", "{{ model }}"),
        ("010", "010"),
    ],
)
def test_values_of_a_command_line(text, value):
    """What is no YAML, or only looks like it, is the text itself: most often a path."""
    assert read_value(text) == value
