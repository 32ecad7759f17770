"""The local reward model as judge: the same number as transformers' own forward, however batched."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.llm.ledger import Ledger
from boresight.scorers.judges import reward_model
from boresight.scorers.judges.endpoint import Kept
from tests.llm.helpers import stored
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


def test_scores_equal_a_plain_forward_one_by_one(folder):
    judge = reward_model.build(reward_model.Config(model=str(folder), batch=3, device="cpu"))
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = judge.tokenizer
    for prompt, answer, score in zip(PROMPTS, ANSWERS, judge.score(PROMPTS, ANSWERS), strict=True):
        turns = [*prompt.prompt, {"role": "assistant", "content": answer}]
        # The template's newline after the last end of turn is no part of the row.
        text = tokenizer.apply_chat_template(turns, tokenize=False).removesuffix("\n")
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            expected = model(input_ids=ids).logits.item()
        assert score.value == pytest.approx(expected, abs=1e-5)
    assert len({s.value for s in judge.score(PROMPTS, ANSWERS)}) > 1


def test_an_answer_too_long_is_missing_and_not_cut(folder):
    judge = reward_model.build(reward_model.Config(model=str(folder), max_length=40, device="cpu"))
    found = judge.compare(PROMPTS[:2], ["yes", "word " * 60], ["no", "no"])
    assert found[0].preference is not None
    assert found[1].preference is None and found[1].failure == "longer than 40 tokens"


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
    with pytest.raises(UserError, match="is no reward model with one score; train one"):
        reward_model.build(reward_model.Config(model=str(tmp_path)))
