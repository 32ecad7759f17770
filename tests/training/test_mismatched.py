"""Answers to other prompts: which one a row gets, and the KL estimated from those of a batch."""

import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from boresight.core.errors import UserError
from boresight.data.rows import Completion, Row
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.reference.distinct import row_key
from boresight.models.reference.frozen import store_reference
from boresight.training.loop import accumulate, evaluate_rows, run_steps
from boresight.training.mismatched import _Circle, each_alone, mismatched_alone, together, with_mismatched
from tests.tiny import tiny_model
from tests.training.fixtures import make_task, random_rows


def rows_of(*pairs, unscored=0):
    """Rows from (prompt, answer), both words of letters that are their tokens."""

    def row(number, prompt, answer):
        ids = np.frombuffer(answer.encode(), np.uint8).astype(np.int32)
        mask = np.arange(len(ids)) >= unscored
        return Row(str(number), np.frombuffer(prompt.encode(), np.uint8).astype(np.int32),
                   (Completion(ids, mask),), scores=(1.0,))  # fmt: skip

    return [row(number, *pair) for number, pair in enumerate(pairs)]


def given(rows, max_length=100, others=()):
    """Mismatched answers as words, and how many are to the row's own prompt."""
    found, same = with_mismatched(rows, max_length, others)
    return [bytes(row.mismatched.ids.astype(np.uint8)).decode() for row in found], same


def test_the_next_rows_answer_and_the_first_ones_for_the_last():
    assert given(rows_of(("p", "a"), ("q", "b"), ("r", "c"))) == (["b", "c", "a"], 0)


def test_an_answer_to_the_same_prompt_or_the_same_answer_is_passed_over():
    """Split pairs stand side by side: p's second answer is none to another prompt."""
    rows = rows_of(("p", "a"), ("p", "b"), ("q", "a"), ("r", "b"), ("q", "b"))
    assert given(rows) == (["b", "a", "b", "a", "a"], 0)


def test_without_another_prompt_another_answer_to_it_is_taken_and_counted():
    assert given(rows_of(("p", "a"), ("p", "b"), ("p", "a"))) == (["b", "a", "b"], 3)


def test_one_row_without_another_prompt_and_answer_is_counted_alone():
    assert given(rows_of(("p", "a"), ("p", "b"), ("q", "a"))) == (["b", "a", "b"], 1)


@pytest.mark.parametrize("pairs", [[("p", "a")], [("p", "a"), ("q", "a")], [("p", "a")] * 3])
def test_rows_without_another_answer_are_refused(pairs):
    with pytest.raises(UserError, match=r"data\.train: no two rows have different answers"):
        with_mismatched(rows_of(*pairs), 100)


def test_held_out_rows_take_training_answers_after_their_own():
    train = rows_of(("x", "y"), ("z", "w"))
    assert given(rows_of(("p", "a")), others=train) == (["y"], 0)
    assert given(rows_of(("p", "a"), ("q", "b")), others=train) == (["b", "y"], 0)


def test_the_answer_is_cut_to_the_room_behind_the_rows_own_prompt():
    rows = rows_of(("pppp", "a"), ("q", "bcdef"))
    assert given(rows, max_length=6) == (["bc", "a"], 0)


def test_an_answer_of_which_no_scored_token_fits_is_passed_over():
    """Its first two tokens are context."""
    rows = rows_of(("ppp", "xxa"), ("q", "xxb"), ("r", "xxc"), unscored=2)
    rows[2] = rows_of(("r", "c"))[0]
    assert given(rows, max_length=5)[0][0] == "c"


def test_a_prompt_behind_which_no_other_answer_is_scored_is_refused():
    """Each answer begins with three tokens of context, and two fit."""
    rows = rows_of(("ppp", "xxxa"), ("q", "xxxb"), unscored=3)
    with pytest.raises(UserError, match=r"row '0': behind its prompt no other answer has a scored token"):
        with_mismatched(rows, 5)


def test_many_equal_answers_take_no_quadratic_time(monkeypatch):
    """300 rows of one answer and one of another: a comparison of each with each would be 45,000."""
    equal, compared = _Circle.equal, count()
    monkeypatch.setattr(_Circle, "equal", lambda *places: (next(compared), equal(*places))[1])
    words, _ = given(rows_of(*((f"p{n}", "a") for n in range(300)), ("q", "b")))
    assert set(words[:-1]) == {"b"} and words[-1] == "a"
    assert next(compared) < 5 * 301


def test_property_every_partner_differs_and_stays_within_the_length():
    rng = np.random.default_rng(0)
    for seed in range(60):
        rows = random_rows(int(rng.integers(2, 30)), 1, seed, vocab=int(rng.integers(5, 9)))
        few = [replace(row, prompt=row.prompt[:1], completions=tuple(
            Completion(c.ids[:2], c.mask[:2]) for c in row.completions)) for row in rows]  # fmt: skip
        found, same = with_mismatched(few, 2)
        changed = 0
        for row in found:
            own = row.completions[0].ids
            assert 1 <= len(row.mismatched.ids) <= 1 and row.mismatched.scored
            answers_elsewhere = [r for r in few if not np.array_equal(r.completions[0].ids, own)]
            other_prompts = [r for r in answers_elsewhere if r.prompt[0] != row.prompt[0]]
            changed += not other_prompts
            among = other_prompts or answers_elsewhere
            assert any(r.completions[0].ids[0] == row.mismatched.ids[0] for r in among)
        assert changed == same


def test_reference_of_both_answers_is_that_of_each_alone():
    rows, _ = with_mismatched(random_rows(6, 1), 64)
    model = tiny_model(dtype=torch.float64)
    both = each_alone(store_reference(model, together(rows), 200), rows)
    alone = store_reference(model, [*rows, *mismatched_alone(rows)], 200)
    assert both.table.keys() == alone.table.keys() == {row_key(r) for r in [*rows, *mismatched_alone(rows)]}
    for key, sums in alone.table.items():
        torch.testing.assert_close(both.table[key], sums, rtol=1e-5, atol=1e-5)


def moved(path, *settings):
    """A task whose policy has left its reference, in float64."""
    task = make_task(path, "kto", "train.batch=8", *settings, dtype=torch.float64)
    with torch.no_grad():
        for parameter in task.policy.parameters():
            parameter.sub_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return task


@pytest.mark.parametrize("tokens", [40, 10_000])
def test_kl_of_a_batch_is_the_mean_over_its_rows_by_the_plain_path(tmp_path, tokens):
    """Packed, in forwards of any size, equal to padded rows with full logits; the whole loss too."""
    task = moved(tmp_path, f"train.tokens_per_forward={tokens}")
    rows = task.batches.batch(0).rows
    gathered = accumulate(task, rows, step=1)
    others = completion_logprobs(task.policy, mismatched_alone(rows), layout="padded").sums[:, 0].detach()
    kl = float((others - task.reference(mismatched_alone(rows))[:, 0]).mean())
    measured = gathered.rows()
    assert kl > 0.05
    torch.testing.assert_close(measured["reference_point"], torch.full((8,), kl))
    own = completion_logprobs(task.policy, rows, layout="padded").sums[:, 0].detach()
    own -= task.reference(rows)[:, 0]
    good = torch.tensor([row.scores[0] > 0 for row in rows])
    margin = torch.where(good, own - kl, kl - own)
    assert gathered.summary()["loss"] == pytest.approx(float(torch.sigmoid(-0.1 * margin).mean()), rel=1e-9)


def test_dropout_is_off_in_the_estimate_and_on_again_afterwards(tmp_path):
    task = moved(tmp_path)
    task.policy.train()
    task.policy.model.layers[0].self_attn.attention_dropout = 0.5
    rows = task.batches.batch(0).rows
    points = [accumulate(task, rows, step=1).summary()["reference_point"] for _ in range(2)]
    assert points[0] == points[1] > 0 and task.policy.training


def test_held_out_rows_are_one_batch(tmp_path):
    """The estimate is over all of them, whatever a forward holds."""
    whole = evaluate_rows(moved(tmp_path / "a", "train.tokens_per_forward=10000"), random_kto(), 0.5)
    cut = evaluate_rows(moved(tmp_path / "b", "train.tokens_per_forward=20"), random_kto(), 0.5)
    points = whole.rows()["reference_point"]
    assert len(points) == 16 and (points == points[0]).all() and points[0] > 0
    for name, value in whole.summary().items():
        assert cut.summary()[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def random_kto():
    return with_mismatched(random_rows(16, 1), 1024)[0]


def test_kto_learns_its_own_labels(tmp_path):
    """Sixteen labeled answers, twenty epochs: the loss starts at half of the weight."""
    task = make_task(tmp_path, "kto", "train.batch=8", "train.steps=40", "optim.lr=0.003")
    begin = evaluate_rows(task, random_kto(), 0.0, unmoved=True).summary()
    run_steps(task)
    end = evaluate_rows(task, random_kto(), 1.0).summary()
    assert begin["loss"] == pytest.approx(0.5, abs=1e-6) and begin["accuracy"] == 0.5
    assert end["accuracy"] > 0.9 and end["loss"] < 0.3
    assert end["chosen_logratio"] > 0 > end["rejected_logratio"]


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_answers_of_one_label_alone_train(tmp_path, label):
    task = make_task(tmp_path, "kto", "train.batch=8", "train.steps=4")
    rows = [replace(row, scores=(label,)) for row in task.batches.rows]
    task.batches, task.eval_rows = replace(task.batches, rows=rows), rows[:4]
    run_steps(task)
    now = evaluate_rows(task, rows, 1.0).summary()
    lacking, there = ("rejected", "chosen") if label else ("chosen", "rejected")
    assert math.isnan(now[f"{lacking}_logratio"]) and math.isfinite(now[f"{there}_logratio"])
    assert math.isfinite(now["loss"])
