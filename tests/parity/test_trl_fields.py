"""The committed table of TRL's options is that of the installed TRL."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")

from boresight.conversion.training import PLAIN_ADAMW, SCHEDULES, SMALL_ADAMW
from boresight.conversion.translation import EIGHT, LOSSES
from boresight.conversion.trl_options import trl_fields, trl_options
from tests.parity.trl_fields import FILE, as_text, configs, fields, installed

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def found():
    return installed()


def test_the_table_has_every_option_with_its_types_and_default(found):
    """Otherwise: .venv-bench/bin/python -m tests.parity.trl_fields, and give new options a place."""
    assert json.loads(FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(found))
    assert FILE.read_text(encoding="utf-8") == as_text(found)


@pytest.mark.parametrize("trainer", sorted(configs()))
def test_every_option_of_a_trainer_has_a_place(trainer):
    options = fields(configs()[trainer])
    assert options.keys() == trl_fields()[trainer].keys()
    assert options.keys() - trl_options().keys() == set()


def test_names_of_values_exist():
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert set(SCHEDULES) <= {member.value for member in SchedulerType}
    # adamw_hf left transformers; configs still name it.
    assert {member.value for member in OptimizerNames} | {"adamw_hf"} >= PLAIN_ADAMW | SMALL_ADAMW


@pytest.mark.parametrize("trainer", ["dpo", "kto", "sft", "grpo"])
def test_losses_are_those_that_the_trainer_compares_with(trainer):
    """Every name is in the source of TRL's trainer or config, in quotes."""
    import inspect

    import trl

    name = trainer.upper()
    source = "".join(
        inspect.getsource(inspect.getmodule(getattr(trl, f"{name}{kind}"))) for kind in ("Trainer", "Config")
    )
    missing = [loss for loss in LOSSES[trainer] if f'"{loss}"' not in source]
    assert missing == []


@pytest.mark.parametrize("trainer", ["DPO", "KTO", "Reward", "GRPO", "RLOO"])
def test_dropout_is_disabled_after_the_adapters_are_there(trainer):
    """So that `lora_dropout` does nothing where `disable_dropout` is on."""
    import inspect

    import trl

    source = inspect.getsource(getattr(trl, f"{trainer}Trainer").__init__)
    assert -1 < source.find("get_peft_model(") < source.find("disable_dropout_in_model(model)")


def test_processes_of_the_configs_that_trl_ships():
    from importlib import resources

    import yaml

    shipped = resources.files("trl.accelerate_configs")
    started = {}
    for file in shipped.iterdir():
        if file.name.endswith(".yaml"):
            config = yaml.safe_load(file.read_text())
            alone = config["distributed_type"] == "NO"
            started[file.name.removesuffix(".yaml")] = 1 if alone else config["num_processes"]
    assert {name for name, count in started.items() if count == 8} == EIGHT
