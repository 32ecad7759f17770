"""What every file of `methods/` must keep, whatever its formula. A new method is covered by existing."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
import torch
from pydantic import ValidationError

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput
from boresight.methods.published import LADDERS, PUBLISHED

OPTIONS = {
    "dpo": [
        {"loss_type": "hinge"},
        {"label_smoothing": 0.1},
        {"length_normalised": True, "beta": 5.0},
        {"dpop_lambda": 2.0},
        {"sft_weight": 0.5},
        {"loss_type": "hinge", "label_smoothing": 0.2, "dpop_lambda": 1.0, "sft_weight": 1.0},
    ],
    "grpo": [
        {"standardize": False, "average": "sum"},
        {"average": "token", "clip_high": 0.28, "beta": 0.0},
        {"ratio": "sequence", "clip": 0.05},
        {"mask_truncated": True},
        {"truncation_penalty": 0.3},
    ],
    "ipo": [{"tau": 0.01}, {"reduction": "mean"}],
    "kto": [{"beta": 1.0}, {"desirable_weight": 0.5, "undesirable_weight": 3.0}],
    "online_dpo": [{"beta": 1.0}, {"second_sample": "reference"}],
    "orpo": [{"odds_weight": 1.0}],
    "reward": [{"margin_scale": 0.5, "centering": 0.01}],
    "rloo": [{"clip": 0.2}, {"mask_truncated": True}, {"truncation_penalty": 0.3, "beta": 0.0}],
    "xpo": [{"alpha": 0.0}],
    "xpo_offline": [{"explore": "chosen"}, {"alpha": 0.1, "allow_large_alpha": True}],
}
CASES = [(name, options) for name in methods.names() for options in [{}, *OPTIONS.get(name, [])]]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda v: str(v).replace(" ", ""))
every_method = pytest.mark.parametrize("name", methods.names())


def prepared(name, options, batches, size=8, seed=0, dtype=torch.float64):
    method = methods.get(name)
    return method.loss, batches.make(method.Input, size, seed, dtype), method.Config(**options)


def test_options_belong_to_methods():
    assert set(OPTIONS) <= set(methods.names())


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match=r"no method 'dop'; did you mean 'dpo'\?"):
        methods.get("dop")


@every_method
def test_docstring_has_equation_paper_and_omissions(name):
    text = importlib.import_module(f"boresight.methods.{name}").__doc__ or ""
    assert re.search(r"^    L\s+= ", text, re.MULTILINE), "no indented line 'L = ...'"
    assert re.search(r"arXiv\s+\d{4}\.\d{5}", text), "no paper"
    assert "Left out:" in text


@every_method
def test_every_setting_is_documented(name):
    config = methods.get(name).Config
    assert config.__doc__
    assert [field for field, info in config.model_fields.items() if not info.description] == []


@every_method
def test_settings_are_strict_and_frozen(name):
    config = methods.get(name).Config
    with pytest.raises(ValidationError, match="Extra inputs"):
        config(no_such_setting=1)
    for field in config.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config(), field, 1)


@every_method
def test_settings_without_schedules_resolve_to_themselves(name):
    cfg = methods.get(name).Config()
    assert cfg.at(0.0) is cfg
    assert cfg.at(1.0) is cfg


@every_case
def test_optional_members_are_numbers_or_their_defaults(name, options):
    """What the rest of the package asks of settings; a method that says nothing has the defaults."""
    cfg = methods.get(name).Config(**options).at(0.0)
    assert isinstance(cfg, MethodConfig)
    for answer in (cfg.wants_reference, cfg.per_token, cfg.explores, cfg.samples_reference):
        assert isinstance(answer, bool)
    for number in (cfg.reward_scale, cfg.target_margin, cfg.dominating_bonus):
        assert number is None or (isinstance(number, float) and number >= 0)
    assert cfg.explores or cfg.dominating_bonus is None


def test_defaults_of_optional_members():
    cfg = MethodConfig()
    assert cfg.wants_reference is True and cfg.samples_reference is True
    assert (cfg.per_token, cfg.explores) == (False, False)
    assert (cfg.reward_scale, cfg.target_margin, cfg.dominating_bonus) == (None, None, None)


def test_published_settings_are_of_methods_that_exist():
    assert set(PUBLISHED) <= set(methods.names())
    for setting in (setting for own in PUBLISHED.values() for setting in own):
        assert setting.parameters > 1e6 and 0 < setting.lr < 0.1 and setting.batch > 0 and setting.source
    for ladder in LADDERS.values():
        assert list(ladder.lrs) == sorted(ladder.lrs) and ladder.lrs[-1] < ladder.too_high


@every_method
def test_loss_is_annotated_and_documented(name):
    loss = methods.get(name).loss
    assert list(inspect.signature(loss).parameters) == ["x", "cfg"]
    assert loss.__doc__


@every_case
def test_output_shapes(name, options, batches):
    loss, x, cfg = prepared(name, options, batches)
    out = loss(x, cfg)
    assert isinstance(out, LossOutput)
    assert out.loss.shape == ()
    assert out.loss.dtype == torch.float64
    assert out.loss.requires_grad
    assert out.loss.isfinite()
    assert out.per_example.shape == (8,)
    assert isinstance(out.weight, float) or out.weight.shape == ()
    assert not getattr(out.weight, "requires_grad", False)
    for metric in out.metrics.values():
        assert metric.shape == (8,)
        assert not metric.requires_grad


@every_case
def test_inputs_are_left_alone(name, options, batches):
    loss, x, cfg = prepared(name, options, batches)
    before = batches.take(x, slice(None))
    loss(x, cfg).loss.backward()
    for field in x.__dataclass_fields__:
        torch.testing.assert_close(getattr(x, field), getattr(before, field), rtol=0, atol=0, equal_nan=True)


@every_case
def test_float32_agrees_with_float64(name, options, batches):
    loss, x, cfg = prepared(name, options, batches)
    _, single, _ = prepared(name, options, batches, dtype=torch.float32)
    out, rough = loss(x, cfg), loss(single, cfg)
    torch.testing.assert_close(rough.loss.double(), out.loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rough.per_example.double(), out.per_example, rtol=1e-4, atol=1e-4)


@every_case
@pytest.mark.parametrize("seed", range(3))
def test_rows_do_not_see_each_other(name, options, seed, batches):
    """A row's value alone is its per_example, and the loss is their mean weighted by what each row counts."""
    loss, x, cfg = prepared(name, options, batches, seed=seed)
    whole = loss(x, cfg)
    alone = [loss(batches.take(x, [row]), cfg) for row in range(8)]
    torch.testing.assert_close(
        torch.stack([out.loss for out in alone]), whole.per_example, rtol=0, atol=1e-11
    )
    total = sum(out.loss * out.weight for out in alone)
    assert sum(out.weight for out in alone) == whole.weight
    torch.testing.assert_close(total / whole.weight, whole.loss, rtol=1e-13, atol=1e-12)


@every_case
@pytest.mark.parametrize("seed", range(3))
def test_order_of_rows_does_not_matter(name, options, seed, batches):
    loss, x, cfg = prepared(name, options, batches, seed=seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    out, shuffled = loss(x, cfg), loss(batches.take(x, order), cfg)
    torch.testing.assert_close(shuffled.loss, out.loss, rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(shuffled.per_example, out.per_example[order], rtol=0, atol=0)


@every_case
@pytest.mark.parametrize("cut", [[4, 4], [2, 2, 2, 2], [1, 7], [3, 0, 5]], ids=str)
def test_micro_batches_are_exact(name, options, cut, batches):
    """The loop sums gradients of loss * weight and divides once: cutting changes neither of them."""
    loss, x, cfg = prepared(name, options, batches)
    whole = loss(x, cfg)
    whole.loss.backward()
    parts = [batches.take(x, rows) for rows in torch.arange(8).split(cut)]
    outs = [loss(part, cfg) for part in parts]
    weight = sum(out.weight for out in outs)
    for out in outs:
        (out.loss * out.weight).backward()
    assert weight == whole.weight
    total = sum(out.loss.detach() * out.weight for out in outs) / weight
    torch.testing.assert_close(total, whole.loss.detach(), rtol=1e-13, atol=1e-12)
    gradients = torch.cat([batches.grads(part) for part in parts]) / weight
    torch.testing.assert_close(gradients, batches.grads(x), rtol=0, atol=1e-12)


@every_case
def test_nothing_to_average_is_zero_not_nan(name, options, batches):
    loss, x, cfg = prepared(name, options, batches, size=0)
    out = loss(x, cfg)
    out.loss.backward()
    assert (out.loss.item(), out.weight) == (0.0, 0.0)


OWN_LOSS = """
from boresight.methods import dpo
from boresight.methods.inputs import LossOutput, PairLogps

class Config(dpo.Config):
    clip: float = 10.0

def loss(x: PairLogps, cfg: Config) -> LossOutput:
    return dpo.loss(x, cfg)
"""


def own(tmp_path, monkeypatch, text):
    """Name of a module of one's own, in a package that no other test imports."""
    package = tmp_path / f"own_{tmp_path.name}"
    package.mkdir()
    (package / "variant.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{package.name}.variant"


def test_a_loss_of_ones_own_with_settings_of_its_own(tmp_path, monkeypatch):
    name = own(tmp_path, monkeypatch, OWN_LOSS)
    method = methods.get(name)
    assert methods.name_of(method.Config()) == name and method.loss.__module__ == name
    recipe = Recipe.parse(
        {
            "method": {"name": name, "clip": 5.0},
            "model": {"name": "starter"},
            "data": {"train": "pairs.jsonl"},
            "optim": {"lr": 1e-5},
        }
    )
    assert recipe.method.clip == 5.0, "of another meaning than rloo's"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "class Config(dpo.Config):\n    clip: float = 10.0",
            "Config = dpo.Config",
            "is that of boresight.methods.dpo",
        ),
        ("loss(x: PairLogps", "loss(batch: PairLogps", "must be called x and annotated"),
        ("loss(x: PairLogps", "loss(x", "must be called x and annotated"),
        ("loss(x: PairLogps", "loss(x: int", "must be called x and annotated"),
        ("loss(x: PairLogps", "loss(x: 'Unknown'", "must be called x and annotated"),
    ],
    ids=["settings of dpo", "another name", "no annotation", "no input", "not imported"],
)
def test_a_loss_of_ones_own_that_cannot_be_called_as_one_is_refused(tmp_path, monkeypatch, old, new, said):
    """With dpo's settings the method would be known as dpo, and dpo's loss be trained."""
    assert old in OWN_LOSS
    name = own(tmp_path, monkeypatch, OWN_LOSS.replace(old, new))
    with pytest.raises(UserError, match=said):
        methods.get(name)
