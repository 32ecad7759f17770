"""What leaves a run folder is the run's model, in the form that other tools read."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.export import weights
from boresight.export.command import export
from boresight.export.weights import Drift, compare_outputs, outputs, state_old_names
from boresight.models.load import load_model, load_tokenizer
from tests.reports.fake_run import ATTACK

LORA = {"r": 4, "dropout": 0.0, "targets": "all-linear"}
ROWS = [[5, 9, 80, 300, 7], [100, 101, 102]]
QUIET = Console(quiet=True)


def plain(folder):
    """As transformers alone loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


@pytest.mark.parametrize("lora", [None, LORA])
def test_merged_weights_say_what_the_adapter_says(trained, tmp_path, lora):
    run = trained("dpo", lora)
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    apart = load_model(str(run), merge=False)
    for ours, theirs in zip(outputs(apart, ROWS), outputs(plain(tmp_path / "out"), ROWS), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    start = load_model(yaml.safe_load((run / "config.yaml").read_text())["model"]["name"])
    assert not torch.allclose(outputs(start, ROWS)[0], outputs(apart, ROWS)[0], atol=1e-2)
    assert not list((tmp_path / "out").glob("*.bin"))


def test_weights_are_folded_before_they_are_rounded(trained, tmp_path):
    """Rounding W + BA once is not rounding W, BA and their sum."""
    run = trained("dpo", LORA)
    export(run, tmp_path / "out", "merged", "bfloat16", QUIET)
    found = plain(tmp_path / "out")
    assert found.dtype == torch.bfloat16
    expected = load_model(str(run)).state_dict()
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected[name].to(torch.bfloat16)), name


def test_the_adapter_alone(trained, tmp_path):
    from peft import AutoPeftModelForCausalLM

    run = trained("dpo", LORA)
    export(run, tmp_path / "out", "adapter", "float32", QUIET)
    theirs = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ours = load_model(str(run), merge=False)
    assert torch.equal(outputs(theirs, ROWS)[0], outputs(ours, ROWS)[0])
    assert "peft" in (tmp_path / "out/README.md").read_text().splitlines()[1]


def test_an_embedded_base_is_named_without_this_machines_folder(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("dpo", LORA), run)
    settings = json.loads((run / "model/adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "/home/somebody/.cache/boresight/starter-c7b80d5b"
    (run / "model/adapter_config.json").write_text(json.dumps(settings))
    export(run, tmp_path / "out", "adapter", "float32", QUIET)
    assert "somebody" not in (tmp_path / "out/adapter_config.json").read_text()


@pytest.mark.parametrize("lora", [None, {"r": 4, "dropout": 0.0}])
def test_a_reward_model(trained, tmp_path, lora):
    from transformers import AutoModelForSequenceClassification

    from boresight.models.reward import load_reward_model

    run = trained("reward", lora)
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert theirs.config.num_labels == 1
    ours = load_reward_model(str(run))
    assert torch.allclose(outputs(theirs, ROWS)[1], outputs(ours, ROWS)[1], atol=1e-6)
    card = (tmp_path / "out/README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "AutoModelForSequenceClassification" in card


def test_tokenizer_template_and_stop_tokens_go_along(trained, tmp_path):
    """Read by transformers, and by the reader that llama.cpp's converter uses."""
    from gguf.vocab import SpecialVocab
    from transformers import AutoTokenizer, GenerationConfig

    run = trained("dpo")
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    ours = AutoTokenizer.from_pretrained(run / "model")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "Hé, 12 words\n\nplease"}]
    assert theirs.apply_chat_template(turns) == ours.apply_chat_template(turns)
    end = theirs.convert_tokens_to_ids("<|im_end|>")
    stops = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert end in (stops if isinstance(stops, list) else [stops])
    read = SpecialVocab(tmp_path / "out", load_merges=True)
    assert read.special_token_ids["eos"] == end
    assert read.chat_template == theirs.chat_template
    settings = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"is_local", "local_files_only"} & set(settings)
    assert not isinstance(settings.get("extra_special_tokens"), list)


def test_older_readers_find_the_rope_base(trained, tmp_path):
    export(trained("dpo"), tmp_path / "out", "merged", "float32", QUIET)
    settings = json.loads((tmp_path / "out/config.json").read_text())
    assert settings["rope_theta"] == 500.0 and settings["torch_dtype"] == "float32"
    assert plain(tmp_path / "out").config.rope_parameters["rope_theta"] == 500.0


def test_scaled_rope_survives_both_names(tmp_path):
    from tests.tiny import tiny_model

    rope = {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    model = tiny_model(rope_parameters=rope)
    model.save_pretrained(tmp_path)
    state_old_names(tmp_path / "config.json")
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["rope_scaling"] == {k: v for k, v in rope.items() if k != "rope_theta"}
    assert torch.equal(outputs(plain(tmp_path), ROWS)[0], outputs(model, ROWS)[0])


def test_drift_by_hand():
    """p = (1/2, 1/2) against q = (1/4, 3/4): KL = ½ ln 2 + ½ ln(2/3) = ½ ln(4/3); a second place is equal."""
    p, q = torch.zeros(2, 2), torch.tensor([[1.0, 3.0], [1.0, 3.0]]).log()
    p[1] = q[1]
    found = compare_outputs([p], [q], "float32")
    assert found.distance == pytest.approx(0.25 * math.log(4 / 3), abs=1e-7)
    assert (found.agree, found.tokens) == (0.5, 2)


@pytest.mark.parametrize("lora", [None, LORA])
def test_rounding_is_compared_with_training_on_the_same_tokens(trained, tmp_path, lora):
    run, console = trained("dpo", lora), Console(record=True, width=500)
    export(run, tmp_path / "out", "merged", "bfloat16", console)
    printed = console.export_text()
    start = load_model(yaml.safe_load((run / "config.yaml").read_text())["model"]["name"])
    rows = weights.probe_rows(run, load_tokenizer(str(run)))
    expected = compare_outputs(outputs(load_model(str(run)), rows), outputs(start, rows), "float32").distance
    assert f"Training moved it {expected:.2g} nats per token from the start model" in printed
    assert "rounding moved the model" not in printed  # 4 steps at 0.02 move it further
    stages = [line for line in printed.splitlines() if line.endswith("…")]
    assert stages == [
        "measuring the start model …",
        "loading the run's model …",
        "writing the weights in bfloat16 …",
        "reading the weights back and comparing them with the run's model …",
    ]


def test_rounding_beyond_training_is_a_warning():
    drift = Drift("bfloat16", 384, 0.0015, 0.98, trained=0.00089)
    assert drift.sentence.endswith(
        "Training moved it 0.00089 nats per token from the start model on the same tokens."
    )
    assert drift.warning.startswith(
        "bfloat16: rounding moved the model 0.0015 nats per token and training 0.00089"
    )
    assert Drift("bfloat16", 384, 0.0015, 0.98, trained=0.02).warning is None
    assert Drift("bfloat16", 384, 0.0015, 0.98).warning is None


def test_ctrl_c_leaves_nothing_and_says_so(trained, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "write_tokenizer", interrupt)
    with pytest.raises(Interrupted, match=r"^interrupted; \S+out was not written\.$"):
        export(trained("dpo"), tmp_path / "out", "merged", "float32", QUIET)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_read_back_otherwise_are_not_exported(trained, tmp_path, monkeypatch):
    """Planted fault: the config loses its rope base on the way out."""

    def lose(path):
        settings = json.loads(path.read_text())
        settings["rope_parameters"]["rope_theta"] = 10.0
        path.write_text(json.dumps(settings))

    monkeypatch.setattr(weights, "state_old_names", lose)
    with pytest.raises(UserError, match="would not be the run's model"):
        export(trained("dpo"), tmp_path / "out", "merged", "float32", QUIET)
    assert list(tmp_path.iterdir()) == []


def test_options_that_cannot_act_are_errors(trained, tmp_path):
    for run, form, dtype, said in (
        (trained("dpo"), "adapter", "float32", "has no adapter apart from its weights"),
        (trained("reward", {"r": 4, "dropout": 0.0}), "adapter", "float32", "no adapter apart"),
        (trained("dpo", LORA), "adapter", "bfloat16", "--dtype rounds merged weights"),
        (trained("dpo"), "merged", "bfloat61", "did you mean 'bfloat16'"),
        (tmp_path, "merged", "float32", "this is not a run folder"),
    ):
        with pytest.raises(UserError, match=said):
            export(run, tmp_path / "out", form, dtype, QUIET)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("keep")
    with pytest.raises(UserError, match="something is there already"):
        export(trained("dpo"), tmp_path / "out", "merged", "float32", QUIET)
    assert (tmp_path / "out/mine.txt").read_text() == "keep"


def test_an_unfinished_run_has_nothing_to_export(trained, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(trained("dpo") / "config.yaml", run)
    with pytest.raises(UserError, match=r"has not finished; `boresight train .*run` resumes it"):
        export(run, tmp_path / "out", "merged", "float32", QUIET)


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_card_tells_data_recipe_and_results_with_intervals(trained, tmp_path, lora):
    run = trained("dpo", lora)
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    text = (tmp_path / "out/README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "transformers" and header["pipeline_tag"] == "text-generation"
    assert header["tags"] == ["boresight", "dpo"] and "base_model" not in header
    data = json.loads((run / "data.json").read_text())
    assert data["train"]["sha256"] in text and "pairs.jsonl" in text
    assert str(run.parent) not in text  # where it lay on this machine concerns nobody
    found = json.loads((run / "evaluation.json").read_text())["metrics"]
    for metric in found:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {metric['label']} |")]
        assert line.count("\\[") >= 2 and line.count("|") == 7
    assert "Read back in float32" in text and "lr: 0.02" in text
    assert "\n\n\n" not in text
    for line, above in zip(text.splitlines()[1:], text.splitlines(), strict=False):
        assert not line.startswith("## ") or above == "", line  # a heading stands alone
    assert "| prompts |" not in text  # data.json has the digest of prompts, which are no split


def test_the_card_names_every_source_of_a_mixture_without_its_folder(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("dpo"), run)
    folder = str(tmp_path / "secret")
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    recipe["data"]["train"] = {f"{folder}/mine.jsonl": 0.25, "org/pairs": 0.75}
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    data = json.loads((run / "data.json").read_text())
    data["train"]["path"] = f"{folder}/mine.jsonl (0.25) + org/pairs (0.75)"
    data["train"]["bad"] = [{"row": 3, "field": "chosen", "message": "is empty"}]
    (run / "data.json").write_text(json.dumps(data))
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    text = (tmp_path / "out/README.md").read_text()
    assert folder not in text
    assert yaml.safe_load(text.split("---")[1])["datasets"] == ["org/pairs"]
    assert "| train | mine.jsonl (0.25) + org/pairs (0.75) |" in text
    assert "mine.jsonl: 0.25" in text and "org/pairs: 0.75" in text
    assert "\n\n1 malformed row of mine.jsonl (0.25) + org/pairs (0.75) left out.\n\n" in text


def test_the_card_tells_two_files_of_one_name_apart(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("dpo"), run)
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    recipe["data"]["train"] = {"shop/train.jsonl": 0.7, "support/train.jsonl": 0.3}
    recipe["data"]["eval"] = "openai/gsm8k:main@test"
    recipe["rollout"]["base_url"] = "http://ann-gpu:8000/v1"
    recipe["reward"] = [{"function": "f", "options": {"system": "Reply with yes/no only: größer?"}}]
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    data = json.loads((run / "data.json").read_text())
    data["train"]["path"] = "shop/train.jsonl (0.7) + support/train.jsonl (0.3)"
    data["eval"]["path"] = "openai/gsm8k:main"
    (run / "data.json").write_text(json.dumps(data))
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    text = (tmp_path / "out/README.md").read_text()
    shown = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert shown["data"]["train"] == {"train.jsonl": 0.7, "2:train.jsonl": 0.3}
    assert shown["data"]["eval"] == recipe["data"]["eval"]
    assert shown["rollout"]["base_url"] == "http://HOST/v1" and shown["reward"] == recipe["reward"]
    assert "| train | train.jsonl (0.7) + 2:train.jsonl (0.3) |" in text
    assert "| eval | openai/gsm8k:main |" in text and "größer" in text
    assert yaml.safe_load(text.split("---")[1])["datasets"] == ["openai/gsm8k"]


def test_only_names_of_the_hub_are_links_in_the_cards_header(trained, tmp_path):
    """Paths of two parts are relative to a folder that is not at hand; a split is no part of an id."""
    run = tmp_path / "run"
    shutil.copytree(trained("dpo"), run)
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    recipe["model"]["name"] = "runs/gone"
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    data = json.loads((run / "data.json").read_text())
    sources = ["org/pairs@train_prefs", "org/pairs:subset@test", "data/gone.jsonl", "../gone", "./gone"]
    data["train"]["path"] = " + ".join(f"{name} (0.20)" for name in sources)
    (run / "data.json").write_text(json.dumps(data))
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    header = yaml.safe_load((tmp_path / "out/README.md").read_text().split("---")[1])
    assert header["datasets"] == ["org/pairs"] and "base_model" not in header


@pytest.mark.parametrize("name", [".", "{absolute}"])
def test_the_folder_that_one_is_in_is_not_replaced(trained, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    to = Path(name.format(absolute=tmp_path))
    with pytest.raises(UserError, match=": is the folder that you are in, which is replaced; give a new"):
        export(trained("dpo"), to, "merged", "float32", QUIET)
    assert list(tmp_path.iterdir()) == []


def test_untrusted_names_stay_text_in_the_card(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("dpo"), run)
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    recipe["model"]["name"] = ATTACK.replace("/", "")
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    data = json.loads((run / "data.json").read_text())
    data["train"]["path"] = "a | b ``` <b>\n# Title"
    (run / "data.json").write_text(json.dumps(data))
    export(run, tmp_path / "out", "merged", "float32", QUIET)
    text = (tmp_path / "out/README.md").read_text()
    outside = "\n".join(text.split("```")[::2])
    assert "\n# Title" not in text.split("## Data")[1] and "<b>" not in outside.replace("\\<b\\>", "")
    assert "<script>" not in outside.replace("\\<script\\>", "")
