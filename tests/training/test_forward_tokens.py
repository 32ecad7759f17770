"""How large forwards are, where a recipe leaves it to the device."""

import pytest
import torch

from boresight.config.recipe import TrainSection
from boresight.core.errors import UserError
from boresight.training.footprint.forward_tokens import forward_tokens
from tests.training.fixtures import make_task


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 1024), ("cuda", 4096), ("mps", 4096)])
def test_a_processor_takes_fewer_tokens_and_a_number_holds_everywhere(device, tokens):
    assert forward_tokens(TrainSection(), torch.device(device)) == tokens
    assert forward_tokens(TrainSection(tokens_per_forward=77), torch.device(device)) == 77


def test_a_task_fills_its_forwards_up_to_it(tmp_path):
    assert make_task(tmp_path / "a", "dpo").tokens_per_forward == 1024
    assert make_task(tmp_path / "b", "dpo", "train.tokens_per_forward=80").tokens_per_forward == 80


@pytest.mark.parametrize("wrong", ["0", "-1", "most", "1.5"])
def test_what_is_no_number_of_tokens(tmp_path, wrong):
    with pytest.raises(UserError, match=r"train\.tokens_per_forward"):
        make_task(tmp_path, "dpo", f"train.tokens_per_forward={wrong}")
