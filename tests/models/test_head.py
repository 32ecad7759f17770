"""What a folder of weights ends in, by the files beside them."""

import json

import pytest

from boresight.core.errors import UserError
from boresight.models.head import head_of

FILES = {
    "language model": ("config.json", {"architectures": ["LlamaForCausalLM"]}, "lm"),
    "reward model": ("config.json", {"architectures": ["LlamaForSequenceClassification"]}, "score"),
    "adapter": ("adapter_config.json", {"task_type": "CAUSAL_LM"}, "lm"),
    "adapter of a reward model": ("adapter_config.json", {"task_type": "SEQ_CLS"}, "score"),
    "without architectures": ("config.json", {"architectures": None}, "lm"),
}


@pytest.mark.parametrize("what", FILES)
def test_the_head_is_read_off_the_files(tmp_path, what):
    name, content, head = FILES[what]
    (tmp_path / name).write_text(json.dumps(content))
    assert head_of(tmp_path) == head


def test_a_folder_that_says_nothing_holds_a_language_model(tmp_path):
    assert head_of(tmp_path) == head_of(tmp_path / "nowhere") == "lm"


@pytest.mark.parametrize("content", ['{"arch', "[1]", "null"])
@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    """`serve` and `chat` look at the head before anything else of the folder."""
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} is damaged: it contains no JSON object"):
        head_of(tmp_path)
