"""The committed table of TRL's options is that of the installed TRL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")

from boresight.conversion.batch import SHIPPED, read_launch
from boresight.conversion.convert import convert_options
from boresight.conversion.training import PLAIN_ADAMW, SCHEDULES, SMALL_ADAMW
from boresight.conversion.translation import LOSSES
from boresight.conversion.trl_options import trl_fields, trl_options
from boresight.core.errors import UserError
from boresight.runs.init.choices import as_recipe
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

    shipped = resources.files("trl.accelerate_configs")
    files = [Path(str(file)) for file in shipped.iterdir() if file.name.endswith(".yaml")]
    assert {file.stem: read_launch(file) for file in files} == SHIPPED


@pytest.mark.parametrize("trainer", ["grpo", "rloo"])
@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize(
    "given",
    [
        {},
        *({"steps_per_generation": steps} for steps in (1, 2, 3, 4, 8)),
        *({"generation_batch_size": rows} for rows in (2, 8, 12, 16, 64)),
    ],
    ids=str,
)
def test_generation_batches_are_those_of_trl(trainer, processes, given, tmp_path, monkeypatch):
    """A batch that TRL refuses is refused, and what TRL saves proves the number of processes."""
    config = configs()[trainer][-1]
    monkeypatch.setattr(config, "world_size", property(lambda self: processes))
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4} | given
    options["num_generations"] = 4
    try:
        args = config(output_dir=str(tmp_path), bf16=False, use_cpu=True, **options)
    except ValueError:
        with pytest.raises(UserError):
            convert_options(options, "c", trainer=trainer, processes=processes)
        return
    found = convert_options(options, "c", trainer=trainer, processes=processes)
    own = args.steps_per_generation <= 4 and 4 % args.steps_per_generation == 0
    assert set(given) <= dict(found.lists["same" if own else "differs"]).keys()
    saved = convert_options(json.loads(args.to_json_string()), "c", trainer=trainer)
    assert saved.processes == processes
    batches = [as_recipe(made.settings)["train"]["batch"] for made in (found, saved)]
    assert batches == 2 * [2 * 4 * processes // 4]


@pytest.mark.parametrize("size", [0.1015, 0.02, 7])
def test_rows_that_trl_splits_off_are_held_out(size, tmp_path, monkeypatch):
    """Whether or not it evaluates."""
    import trl

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": str(n), "completion": "x"}) + "\n" for n in range(100)))
    options = {"datasets": [{"path": "json", "data_files": str(file)}], "test_split_size": size}
    found = convert_options(options, "c", trainer="sft", rows=100)
    parts = trl.get_dataset(trl.DatasetMixtureConfig(**options))  # puts objects into the list
    assert as_recipe(found.settings)["data"]["eval_rows"] == len(parts["test"])
