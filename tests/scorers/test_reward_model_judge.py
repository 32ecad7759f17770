"""The local reward model as judge: the same number as transformers' own forward, however batched."""

import json
import shutil

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaForSequenceClassification,
)

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.llm.ledger import Ledger
from boresight.models.load import load_tokenizer
from boresight.scorers.judges import reward_model
from boresight.scorers.judges.endpoint import Kept
from tests.llm.helpers import stored
from tests.models.families import GPT2_SIZES
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("reward")
    tokenizer = tiny_tokenizer()
    tiny_model().save_pretrained(place)
    tokenizer.save_pretrained(place)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(place, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(place)
    return place


ANSWERS = ["yes", "no, it is not so at all", "maybe", "it may be"]
PROMPTS = [Prompt([{"role": "user", "content": f"is it {i}?"}], str(i)) for i in range(4)]


def plain_scores(folder, ends_with=""):
    """What transformers gives for each conversation as the template renders it, cut to end as told."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(str(folder))
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        turns = [*prompt.prompt, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        assert text.endswith("<|im_end|>\n")
        text = text[: text.rindex(ends_with) + len(ends_with)] if ends_with else text
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            yield model(input_ids=ids).logits.item()


def mark(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def judged(folder):
    judge = reward_model.build(reward_model.Config(model=str(folder), batch=3, device="cpu"))
    return [score.value for score in judge.score(PROMPTS, ANSWERS)]


def test_a_model_of_others_is_read_at_the_last_token_that_its_template_renders(folder):
    """In ChatML that is the newline after `<|im_end|>`, at which trl trains."""
    found = judged(folder)
    assert found == pytest.approx(list(plain_scores(folder)), abs=1e-5)
    assert len(set(found)) > 1


def test_one_of_ours_is_read_where_the_turn_ends(folder, tmp_path):
    ours = shutil.copytree(folder, tmp_path / "ours")
    mark(ours, boresight_reads="end_of_turn")
    assert judged(ours) == pytest.approx(list(plain_scores(folder, "<|im_end|>")), abs=1e-5)
    assert judged(ours) != pytest.approx(judged(folder), abs=1e-3)


def test_one_of_ours_that_says_nothing_is_known_by_its_run(folder, tmp_path):
    """Reward models trained before the setting existed."""
    shutil.copytree(folder, tmp_path / "run/model")
    (tmp_path / "run/config.yaml").write_text("method: {name: reward}\n")
    expected = list(plain_scores(folder, "<|im_end|>"))
    assert judged(tmp_path / "run") == pytest.approx(expected, abs=1e-5)
    assert judged(tmp_path / "run/model") == pytest.approx(expected, abs=1e-5)


def test_padding_after_the_turn_is_not_read(folder, tmp_path):
    """transformers reads the last token that is not the pad token, so the newline here is passed over."""
    padded = shutil.copytree(folder, tmp_path / "padded")
    newline = load_tokenizer(str(folder)).encode("\n", add_special_tokens=False)
    assert len(newline) == 1
    mark(padded, pad_token_id=newline[0])
    assert judged(padded) == pytest.approx(list(plain_scores(padded)), abs=1e-5)


def test_a_model_that_reads_elsewhere_is_refused(folder, monkeypatch):
    """A few conversations are scored by the model's own forward too, when the judge is built."""
    right = LlamaForSequenceClassification.forward

    def forward(self, *args, **kwargs):
        out = right(self, *args, **kwargs)
        out.logits = out.logits + 1
        return out

    monkeypatch.setattr(LlamaForSequenceClassification, "forward", forward)
    with pytest.raises(
        UserError, match=r"scores a conversation .* by its own forward and .* by its last token"
    ):
        judged(folder)


def test_an_answer_too_long_is_missing_and_not_cut(folder):
    judge = reward_model.build(reward_model.Config(model=str(folder), max_length=40, device="cpu"))
    found = judge.compare(PROMPTS[:2], ["yes", "word " * 60], ["no", "no"])
    assert found[0].preference is not None
    assert found[1].preference is None and found[1].failure == "longer than 40 tokens"


def test_an_answer_beyond_a_table_of_positions_is_missing(tmp_path):
    sizes = GPT2_SIZES | {"n_positions": 64, "vocab_size": len(tiny_tokenizer())}
    model = GPT2ForSequenceClassification(GPT2Config(**sizes, num_labels=1, pad_token_id=0))
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    judge = reward_model.build(reward_model.Config(model=str(tmp_path), device="cpu"))
    good, bad = judge.score(PROMPTS[:1] * 2, ["yes", "word " * 60])
    assert good.value is not None
    assert bad.value is None and bad.failure == "longer than 64 tokens"


def test_a_generated_answer_of_any_form_has_a_score(folder):
    judge = reward_model.build(reward_model.Config(model=str(folder), batch=3, device="cpu"))
    answers = ["", "\n\nyes", "<|im_end|>", "<think>\n", "\ufffd \n"]
    found = judge.score([PROMPTS[0]] * len(answers), answers)
    assert [score.failure for score in found] == [""] * len(answers)
    assert None not in [score.value for score in found]


def test_an_answer_that_the_template_refuses_is_a_failure_with_its_reason(folder):
    judge = reward_model.build(reward_model.Config(model=str(folder), device="cpu"))
    refusal = "{{ raise_exception('no x') if messages[-1].content == 'x' }}"
    judge.tokenizer.chat_template = refusal + (judge.tokenizer.chat_template or "")
    bad, good = judge.score([PROMPTS[0]] * 2, ["x", "y"])
    assert bad.value is None and (bad.failure or "").endswith("refuses these messages: no x.")
    assert good.value is not None


def test_scores_are_kept_under_the_weights_and_recalled(folder, tmp_path):
    """With its forward planted to fail, the judge still knows what it scored; other weights know nothing."""
    config = reward_model.Config(model=str(folder), batch=3, device="cpu")
    with Ledger(tmp_path / "l.sqlite") as ledger:
        first = reward_model.build(config, Kept(ledger))
        scores = first.score(PROMPTS, ANSWERS)
        assert (len(stored(ledger.path)), ledger.spent().requests) == (4, 0)
        again = reward_model.build(config, Kept(ledger))
        again.model.forward = None
        assert again.score(PROMPTS, ANSWERS) == scores
        first.score(PROMPTS, [*ANSWERS[:3], "another"])
        assert len(stored(ledger.path)) == 5
        other = reward_model.build(config, Kept(ledger))
        with torch.no_grad():
            other.model.score.weight += 1
        assert all(a.value != b.value for a, b in zip(other.score(PROMPTS, ANSWERS), scores, strict=True))


def test_a_model_without_a_trained_reward_head_is_refused(tmp_path):
    """Loading one would draw a fresh head, and every verdict would be noise."""
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is no reward model; train one"):
        reward_model.build(reward_model.Config(model=str(tmp_path)))


# Several outputs ------------------------------------------------------------------------------------------

LABELS = ["helpfulness", "correctness", "verbosity"]


@pytest.fixture(scope="module")
def attributes(tmp_path_factory, folder):
    """A model with an output for each label."""
    place = shutil.copytree(folder, tmp_path_factory.mktemp("attributes") / "model")
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        place, num_labels=3, id2label=dict(enumerate(LABELS)), ignore_mismatched_sizes=True
    )
    model.save_pretrained(place)
    return place


def build_attributes(attributes, ledger=None, **weights):
    config = reward_model.Config(model=str(attributes), batch=3, device="cpu", weights=weights)
    return reward_model.build(config, None if ledger is None else Kept(ledger))


def own_outputs(attributes):
    """What transformers gives for each conversation, `(conversations, labels)`."""
    model = AutoModelForSequenceClassification.from_pretrained(attributes, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(str(attributes))
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        turns = [*prompt.prompt, {"role": "assistant", "content": answer}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            yield model(input_ids=ids).logits[0].tolist()


def test_attributes_are_weighted_by_the_labels_of_the_config(attributes):
    weights = {"verbosity": -0.4, "helpfulness": 0.65}
    found = build_attributes(attributes, **weights).score(PROMPTS, ANSWERS)
    expected = [0.65 * h - 0.4 * v for h, _, v in own_outputs(attributes)]
    assert [score.value for score in found] == pytest.approx(expected, abs=1e-5)
    assert [part.split(" ")[0] for part in found[0].reasoning.split(", ")] == LABELS


def test_other_weights_need_no_other_forward(attributes, tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        build_attributes(attributes, ledger, helpfulness=1).score(PROMPTS, ANSWERS)
        again = build_attributes(attributes, ledger, correctness=2)
        again.model.forward = None
        expected = [2 * c for _, c, _ in own_outputs(attributes)]
        assert [s.value for s in again.score(PROMPTS, ANSWERS)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "the model has 3 outputs (helpfulness, correctness, verbosity) and not one score"),
        ({"helpfullness": 1.0}, "the model has no output 'helpfullness'; did you mean 'helpfulness'"),
        ({"helpfulness": 0.0}, "all are 0"),
    ],
)
def test_a_model_with_several_outputs_needs_weights_of_its_own_labels(attributes, weights, message):
    with pytest.raises(UserError) as refused:
        build_attributes(attributes, **weights)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_model_with_one_output_takes_a_weight_of_its_label_alone(folder):
    with pytest.raises(UserError, match="no output 'helpfulness'"):
        build_attributes(folder, helpfulness=1)
    doubled = build_attributes(folder, LABEL_0=2).score(PROMPTS, ANSWERS)
    assert [s.value for s in doubled] == pytest.approx([2 * x for x in judged(folder)], abs=1e-5)


def test_a_score_stays_what_it_was_in_the_ledger(folder, tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        judge = reward_model.build(reward_model.Config(model=str(folder), device="cpu"), Kept(ledger))
        judge.score(PROMPTS, ANSWERS)
        assert [set(ledger.get(key)) for key in stored(ledger.path)] == [{"score"}] * 4
