"""The command for vLLM: whole weights, adapters with their rank, and what must be exported first."""

import json

import pytest

from boresight.core.errors import UserError
from boresight.serving.vllm_command import vllm_command


def adapter(run, **settings):
    """A run folder with an adapter of such settings."""
    (run / "model").mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 12, "bias": "none"} | settings
    (run / "model/adapter_config.json").write_text(json.dumps(config))
    (run / "model/chat_template.jinja").write_text("x")
    return run


def test_whole_weights(tmp_path):
    run = tmp_path / "my run"
    (run / "model").mkdir(parents=True)
    (run / "model/config.json").write_text("{}")
    assert vllm_command(run) == f"vllm serve '{run}/model' --served-model-name 'my run'"
    assert vllm_command(run / "model") == f"vllm serve '{run}/model' --served-model-name model"


def test_an_adapter_goes_on_its_base_with_its_template_and_stop_tokens(tmp_path):
    run = adapter(tmp_path / "mine")
    assert vllm_command(run) == (
        f"vllm serve org/base --enable-lora --lora-modules mine={run}/model --max-lora-rank 16 "
        f"--generation-config {run}/model --chat-template {run}/model/chat_template.jinja"
    )


def test_a_port_is_handed_to_vllm(tmp_path):
    run = adapter(tmp_path / "mine")
    assert vllm_command(run, 8001) == f"{vllm_command(run)} --port 8001"
    (run / "model/adapter_config.json").unlink()
    (run / "model/config.json").write_text("{}")
    assert vllm_command(run, 0) == f"{vllm_command(run)} --port 0"
    with pytest.raises(UserError, match="--port: 65536 is not a port; give one from 0 to 65535"):
        vllm_command(run, 65536)


def test_a_rank_that_vllm_takes(tmp_path):
    for rank, taken in ((1, 8), (8, 8), (9, 16), (200, 256), (512, 512)):
        assert f"--max-lora-rank {taken} " in vllm_command(adapter(tmp_path / str(rank), r=rank))


def test_what_vllm_cannot_serve_as_it_is(tmp_path):
    base = adapter(tmp_path / "base")
    for i, (settings, reason) in enumerate(
        (
            ({"base_model_name_or_path": "/cache/starter-c7b80d5b"}, "base comes with boresight"),
            ({"base_model_name_or_path": str(base)}, "base has adapters too"),
            ({"use_dora": True}, "DoRA"),
            ({"modules_to_save": ["lm_head"]}, "whole layers"),
            ({"r": 1024}, "up to rank 512"),
        )
    ):
        with pytest.raises(UserError, match=f"{reason}.*boresight export .* --to FOLDER"):
            vllm_command(adapter(tmp_path / str(i), **settings))
    with pytest.raises(UserError, match="a reward model gives scores"):
        vllm_command(adapter(tmp_path / "score", task_type="SEQ_CLS"))
    with pytest.raises(UserError, match="there is no model"):
        vllm_command(tmp_path / "nothing")
