"""A value that is refused: the sentence says what the field takes, in the words of YAML."""

import importlib
from collections.abc import Iterator

import pytest

from boresight import methods
from boresight.config.recipe import DataSection, Recipe
from boresight.config.section import Section
from boresight.core.errors import UserError

MINIMAL = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        (
            "train",
            {"guard": False},
            "train.guard is false: must be a section of settings; null turns it off, {} takes all defaults.",
        ),
        (
            "model",
            {"lora": "none"},
            "model.lora is 'none': must be a section of settings; null turns it off, {} takes all defaults.",
        ),
        (
            "data",
            {"train": ["a.jsonl", "b.jsonl"]},
            "data.train is ['a.jsonl', 'b.jsonl']: several sources are given with their shares of the "
            "training rows, as in {a.jsonl: 0.5, b.jsonl: 0.5}.",
        ),
        ("data", {"train": "x", "eval": ["a"]}, "data.eval is ['a']: must be one text and not a list."),
        ("data", {"train": None}, "data.train is null: input should be a valid string."),
        ("optim", None, "optim is null: must be a section of settings, with lr."),
        (
            "optim",
            {"lr": 1, "betas": [0.9]},
            "optim.betas is [0.9]: must be a list of 2 values, such as [0.9, 0.999].",
        ),
        (
            "optim",
            {"lr": 1, "betas": 0.9},
            "optim.betas is 0.9: must be a list of 2 values, such as [0.9, 0.999].",
        ),
        (
            "optim",
            {"lr": 1, "betas": [0.9, 0.9, 0.9]},
            "optim.betas is [0.9, 0.9, 0.9]: must be a list of 2 values, such as [0.9, 0.999].",
        ),
        (
            "optim",
            {"lr": 1, "warmup": 100},
            "optim.warmup is 100: input should be less than 1; it is the share of the steps over which the "
            "rate rises linearly.",
        ),
        (
            "optim",
            {"lr": 1, "clip": "none"},
            "optim.clip is 'none': input should be a valid number; write null for none.",
        ),
        ("optim", {"lr": "fast"}, "optim.lr is 'fast': input should be a valid number, or auto."),
        (
            "model",
            {"lora": {"targets": "q_proj"}},
            "model.lora.targets is 'q_proj': must be a list such as [q_proj], or all-linear.",
        ),
        ("model", {"lora": {"targets": [1]}}, "model.lora.targets.0 is 1: input should be a valid string."),
        ("train", {"trackers": "wandb"}, "train.trackers is 'wandb': must be a list such as [wandb]."),
        (
            "train",
            {"batch": None},
            "train.batch is null: input should be a valid integer; leave it out to take the default.",
        ),
        (
            "data",
            {"train": "x", "columns": "q"},
            "data.columns is 'q': must be a mapping such as {name: value}.",
        ),
        ("reward", 5, "reward.0 is 5: must be a section of settings."),
    ],
)
def test_the_sentence_says_what_the_field_takes(section, values, sentence):
    with pytest.raises(UserError) as found:
        Recipe.parse(MINIMAL | {section: values}, "r.yaml")
    assert str(found.value) == f"r.yaml: {sentence}"


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("train", {"guard": None}),
        ("train", {"guard": {}}),
        ("model", {"lora": None}),
        ("model", {"lora": {"targets": ["q_proj"]}}),
        ("model", {"lora": {"targets": "all-linear"}}),
        ("optim", {"lr": 1, "betas": [0.9, 0.999]}),
        ("optim", {"lr": "auto", "clip": None}),
    ],
)
def test_what_the_sentences_advise_is_accepted(section, values):
    Recipe.parse(MINIMAL | {section: values})


def test_the_shares_of_the_advice_are_the_shares_of_the_rows():
    assert DataSection(train={"a.jsonl": 0.5, "b.jsonl": 0.5}).sources == {"a.jsonl": 0.5, "b.jsonl": 0.5}


def sections(of: type = Section) -> Iterator[type[Section]]:
    for section in of.__subclasses__():
        yield section
        yield from sections(section)


def test_what_a_share_means_begins_with_a_noun():
    """The error for a value above 1 reads "it is the share of the steps over which …"."""
    for name in ("evaluation.recipe", "synthesis.recipe", "experiments.sweep.recipe", "config.recipe"):
        importlib.import_module(f"boresight.{name}")
    for name in methods.names():
        methods.get(name)
    shares = {
        f"{section.__name__}.{name}": info.description
        for section in sections()
        for name, info in section.model_fields.items()
        if any(getattr(bound, kind, None) == 1 for bound in info.metadata for kind in ("le", "lt"))
    }
    assert len(shares) > 10
    first = {name: (text or "").partition(" ")[0] for name, text in shares.items()}
    assert {name: word for name, word in first.items() if word not in NOUNS} == {}


NOUNS = {"Decay", "Largest", "Lead", "Rate", "Share", "Similarity", "Smallest", "Total", "Weight"}
"""First words of what has been read as "it is the …"."""
