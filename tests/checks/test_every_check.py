"""Every check of data, tokens, rewards, model, method, budget, machine and a run in progress can fire.

`test_planted_faults` plants the faults that cost people days and wants them named first. Here are the
others, found among whatever else is said; a check that is in neither table fails the last test.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from boresight import methods
from boresight.checks.data import labels, shortcuts
from boresight.checks.data.examples import Examples
from boresight.checks.run import initial_loss, machine
from boresight.checks.run.machine import Load
from boresight.config.reward import RewardConfig
from boresight.core.schema import Labeled, Prompt
from boresight.data.reading import names
from boresight.data.reading.load import read
from boresight.data.reading.sources.generated import read_generated
from boresight.data.rendering.split_turns import SplitTurns
from boresight.findings import live_checks
from boresight.findings.finding import checks_of, run_checks
from boresight.methods.inputs import GroupLogps
from boresight.models.kernels.libraries import Measurement, Rates
from boresight.runs.check import preflight
from boresight.scorers.rewards import RewardSum
from boresight.tasks.countdown import countdown_prompt, generate_problems, problem, trace
from tests.checks import builders as b
from tests.checks.test_planted_faults import FAULTS, PROMPTS
from tests.checks.test_study_recipes import DIAGNOSIS

AREAS = (*preflight.AREAS, initial_loss, live_checks)
COUNTDOWN = [{"function": "countdown"}]


def said(role, words):
    return [{"role": role, "content": words}]


# Data ---------------------------------------------------------------------------------------------------


def changed(some, change, count=40):
    """Findings in healthy pairs of which the first `count` are changed."""
    return b.found_in_data([change(pair) for pair in some[:count]] + some[count:])


def wordless(pair):
    return replace(pair, rejected=said("assistant", "  "))


def other_question(pair):
    return replace(pair, chosen=[*said("user", "And why?"), *pair.chosen])


def tied(pair):
    return replace(pair, rejected_score=pair.chosen_score)


def in_russian(pair):
    return replace(pair, chosen=said("assistant", "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440"))


def one_prompt(pair):
    return replace(pair, prompt=said("user", "Tell me a story of tides and bread"))


def asked_and_trained():
    """Every tenth prompt of `evaluate.prompts` is one of the training pairs'."""
    pairs = b.pairs()
    asked = [Prompt(pair.prompt, f"asked-{n}") for n, pair in enumerate([*pairs[:4], *b.pairs(36, seed=7)])]
    return run_checks(shortcuts, Examples(pairs, (), asked))


def some_looked_at():
    return run_checks(shortcuts, Examples(b.pairs()[::2], b.pairs(9, seed=9), all_train=b.pairs()))


def few_held_out():
    return b.found_in_data(b.pairs(), held=b.pairs(30, seed=9))


# Tokens -------------------------------------------------------------------------------------------------


def grown(sides, rows=60):
    """Findings when completions of these sides have 100 tokens, in the first so many of sixty rows."""

    def long(ids, mask):
        return b.np.append(b.np.full(99, 7), b.END.id).astype("int32"), b.np.ones(100, bool)

    healthy = b.rows()
    return b.found_in_tokens(
        b.facts_of(b.change_completions(healthy[:rows], long, sides=sides) + healthy[rows:])
    )


def unknown():
    return b.found_in_tokens(b.facts_of(b.rows(), unknown=int(b.rows()[0].prompt[1])))


def refused(reason):
    return b.found_in_tokens(b.facts_of(b.rows(), refused=[("row-x", reason)]))


def no_bos():
    rows = [replace(row, prompt=row.prompt[1:]) for row in b.rows()]
    return b.found_in_tokens(b.facts_of(rows, adds_bos=True))


def split_up():
    return b.found_in_tokens(b.facts_of(b.rows(), sampled=9, split=SplitTurns(9, 9, 400)))


# Model --------------------------------------------------------------------------------------------------


def wired(change, *settings, name="dpo", **sections):
    """Findings in a wired tiny model after a change."""
    wiring = b.wired(b.recipe(name, *settings, data=b.SHORT, **sections))
    change(wiring)
    return b.found_in_model(wiring)


def with_new_tokens(wiring):
    wiring.tokenizer.add_tokens([f"<new-{i}>" for i in range(5)])


def pad_in_table(wiring):
    wiring.model.get_input_embeddings().padding_idx = wiring.end.id


def end_pads(wiring):
    wiring.tokenizer.pad_token_id = wiring.end.id


def drop_out(wiring):
    wiring.model.config.attention_dropout = 0.1


def nothing(wiring):
    return None


LORA_DROPOUT = {"model": {"lora": {"dropout": 0.1}}, "reward": COUNTDOWN}

# Method, budget, machine --------------------------------------------------------------------------------


def kl_in_the_loss():
    """L = RLOO without KL + beta * mean(log pi - log ref): the same push for every sample."""
    rloo = methods.get("rloo")

    def loss(x, cfg):
        out = rloo.loss(x, cfg.model_copy(update={"beta": 0.0}))
        return replace(out, loss=out.loss + cfg.beta * (x.policy - x.ref).mean())

    own = methods.Method("rloo", rloo.Config, loss, GroupLogps)
    return b.found_in_recipe(b.recipe("rloo", "method.beta=0.03", reward=COUNTDOWN), own=own)


def recipe(name, *settings, rows=60_000, **sections):
    return b.found_in_recipe(b.recipe(name, *settings, **sections), rows)


def labeled(good, bad, *settings):
    return b.found_in_recipe(b.recipe("kto", *settings), good + bad, labels=(good, bad))


def loaded(monkeypatch, free_gb, **facts):
    """Findings about half a billion trained weights on a machine of 1e11 operations a second."""
    monkeypatch.setattr(machine, "available_gb", lambda device: free_gb)
    monkeypatch.setattr(machine, "rate", lambda dtype, device: 1e11)
    return run_checks(machine, Load(b.recipe("dpo"), b.QWEN, b.QWEN, **facts))


# Rewards ------------------------------------------------------------------------------------------------


def raises(prompts, completions, rows):
    return [1 / 0 for _ in completions]


def failing():
    rewards = RewardSum([RewardConfig(function=f"{__name__}:raises")])
    return b.found_in_rewards(rewards, [Prompt(said("user", "Hi"), "p"), *PROMPTS])


def unreadable_gold():
    """Words, which are no mathematics."""
    asked = [
        Prompt(said("user", "Capital?"), f"p{n}", {"answer": gold})
        for n, gold in enumerate(["Paris", "Rome"])
    ]
    return b.found_in_rewards(RewardSum([RewardConfig(function="math")]), asked)


# While it runs ------------------------------------------------------------------------------------------


def logged(**curves):
    return b.found_live(b.log(**curves))


def flat(value):
    return lambda t: value


PLANTED = {
    "empty-turns": lambda: changed(b.pairs(), wordless),
    "prompts-differ": lambda: changed(b.pairs(), other_question),
    "equal-scores": lambda: changed(b.pairs(), tied),
    "foreign-answers": lambda: changed(b.pairs(), in_russian),
    "duplicated-prompts": lambda: changed(b.pairs(), one_prompt),
    "nothing-held-out": lambda: run_checks(shortcuts, Examples(b.pairs(), shortage="rows stay together")),
    "eval-too-small": few_held_out,
    "examples-sampled": some_looked_at,
    "evaluate-prompts-overlap": asked_and_trained,
    "rejected-truncated": lambda: grown((1,)),
    "rows-truncated": lambda: grown((0, 1)),
    "few-truncated": lambda: grown((0,), rows=2),
    "unknown-tokens": unknown,
    "bos-missing": no_bos,
    "turns-split": split_up,
    "template-refuses": lambda: refused("the template knows no system role"),
    "reward-fails": failing,
    "reward-missing": unreadable_gold,
    "vocabulary-too-small": lambda: wired(with_new_tokens),
    "padding-drops-gradient": lambda: wired(pad_in_table),
    "pad-is-end-of-turn": lambda: wired(end_pads),
    "dropout-in-policy": lambda: wired(drop_out),
    "dropout-in-rollouts": lambda: wired(nothing, name="rloo", **LORA_DROPOUT),
    "beyond-context": lambda: wired(nothing, "data.max_length=4096"),
    "kl-without-effect": kl_in_the_loss,
    "not-exploring": lambda: recipe("xpo_offline"),
    "kl-too-strong": lambda: recipe("rloo", "method.beta=0.5", reward=COUNTDOWN),
    "one-label": lambda: labeled(800, 0),
    "label-weights": lambda: labeled(900, 100),
    "reward-pays-for-wrong": lambda: recipe("rloo", reward=[{"function": "countdown_shaped"}]),
    "over-optimization-ahead": lambda: recipe("dpo", "optim.lr=5e-5", "train.batch=8"),
    "zero-variance-groups": lambda: logged(zero_variance=flat(0.8)),
    "rewards-missing": lambda: logged(unscorable=flat(0.2)),
    "steps-skipped": lambda: logged(skipped=flat(1.0)),
    "reward-flat-held-out": lambda: logged(reward=lambda t: 0.1 + 0.5 * t, held_reward=flat(0.2)),
    "over-optimization": lambda: logged(
        held_kl_per_token=lambda t: 0.2 * t**3, held_accuracy=lambda t: 0.7 - 0.1 * t
    ),
    "overfitting": lambda: logged(accuracy=flat(0.95), held_accuracy=flat(0.7)),
    "repetition": lambda: logged(held_repetition_share=lambda t: 0.6 * t),
    "clip-saturation": lambda: logged(clipped=flat(1.0), grad_norm=flat(4.0)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_fault_is_among_what_is_found(name):
    found = {f.name: f for f in PLANTED[name]()}
    assert name in found
    assert all(words.strip().endswith(".") for words in (found[name].why, found[name].fix))


def test_a_side_that_goes_on_for_longer_asks_nothing_else():
    """Chosen: an answer, "And why?", another one. Rejected: one answer to the same prompt."""

    def longer(pair):
        return replace(
            pair, chosen=[*pair.chosen, *said("user", "And why?"), *said("assistant", "So it is.")]
        )

    def other_second(pair):
        rejected = [*pair.rejected, *said("user", "Really?"), *said("assistant", "No.")]
        return replace(longer(pair), rejected=rejected)

    assert "prompts-differ" not in {f.name for f in changed(b.pairs(), longer)}
    assert "prompts-differ" in {f.name for f in changed(b.pairs(), other_second)}


@pytest.mark.parametrize(("better", "worse"), names.SCORES)
def test_labels_that_scores_contradict_are_found_under_every_name(better, worse, tmp_path):
    """The whole way: from a file whose scores have the names of some public set, to the finding."""
    rows = [
        {"prompt": f"q{n}", "chosen": f"x{n}", "rejected": f"y{n}", better: 1.5, worse: 4.5}
        for n in range(40)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = read(tmp_path / "pairs.jsonl").examples
    assert [(f.name, f.count) for f in run_checks(labels, Examples(pairs))] == [("labels-swapped", 40)]


def test_leaks_of_countdown_are_found_in_any_order_and_words():
    """Trained on demonstrations in the public words; held out and asked with numbers turned around."""
    problems = generate_problems(40, seed=0)
    shown = [trace(p, seed=n) for n, p in enumerate(problems)]
    turned = [countdown_prompt(problem(p.numbers[::-1], p.target), "tiny") for p in problems[:4]]
    fresh = [countdown_prompt(p) for p in generate_problems(36, seed=1, split="held_out")]
    found = {f.name: f for f in run_checks(shortcuts, Examples(shown, turned + fresh, turned + fresh))}
    for name, severity in (("train-eval-overlap", "error"), ("evaluate-prompts-overlap", "warning")):
        assert (found[name].count, found[name].severity) == (4, severity)
        assert found[name].rows == tuple(p.id for p in turned)


@pytest.mark.parametrize("free_gb", [1.0, 6.0, 900.0])
def test_memory_is_a_warning_where_it_is_short_and_an_error_at_half(monkeypatch, free_gb):
    """Four numbers a weight of four bytes: 7.9 GB, and 0.7 for the libraries."""
    found = {f.name: f.severity for f in loaded(monkeypatch, free_gb)}
    assert found.get("memory") == {1.0: "error", 6.0: "warning", 900.0: None}[free_gb]


@pytest.mark.parametrize(
    ("counts", "settings", "fix"),
    [
        ((500, 500), (), None),
        ((400, 300), (), None),  # 4/3
        ((400, 299), (), None),  # within rounding
        ((100, 1000), (), "method.desirable_weight=11.5 (10 to 13.3)"),
        ((1000, 100), (), "method.undesirable_weight=8.66 (7.5 to 10)"),
        ((1000, 100), ("method.undesirable_weight=8.66",), None),
        ((1000, 100), ("method.undesirable_weight=7.5",), None),
        ((1000, 100), ("method.desirable_weight=0.12",), None),
        ((1000, 100), ("method.desirable_weight=2",), "method.undesirable_weight=17.3 (15 to 20)"),
        ((300, 400), (), "method.desirable_weight=1.54 (1.33 to 1.78)"),
    ],
)
def test_weights_of_uneven_labels_are_those_of_equation_8(counts, settings, fix):
    """The example of the paper: one good answer to ten bad ones, lambda_D of 10 to 13.33."""
    found = {f.name: f for f in labeled(*counts, *settings)}
    assert ("label-weights" in found) == (fix is not None)
    if fix:
        assert found["label-weights"].fix == f"Set {fix}."
        name, value = fix.split(" ")[0].split("=")
        assert "label-weights" not in {f.name for f in labeled(*counts, *settings, f"{name}={value}")}


@pytest.mark.parametrize(("counts", "fix"), [((5, 0), "method.name=sft"), ((0, 5), "Add good answers.")])
def test_answers_of_one_label_alone_are_said(counts, fix):
    found = {f.name: f for f in labeled(*counts)}
    assert fix in found["one-label"].fix and "label-weights" not in found
    assert found["one-label"].severity == "warning"


def test_other_methods_have_no_label_weights():
    assert not {"one-label", "label-weights"} & {
        f.name for f in b.found_in_recipe(b.recipe("dpo"), labels=(9, 1))
    }


def labeled_rows(good_words, bad_words, count=60):
    """Labeled answers of so many words."""
    return [
        Labeled(
            said("user", f"Tell me of tides {n}"),
            said("assistant", f"tides {n} " + "x " * (good_words if n % 2 else bad_words)),
            bool(n % 2),
            f"row-{n}",
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(("good", "bad", "side"), [(9, 4, "good"), (4, 9, "bad"), (5, 5, None)])
def test_length_gives_labels_of_single_answers_away(good, bad, side):
    found = {f.name: f for f in b.found_in_data(labeled_rows(good, bad))}
    assert ("length-leak" in found) == (side is not None)
    if side:
        assert f"The {side} answer is the longer one in 100 % of comparisons of 30 good with 30 bad" in (
            found["length-leak"].why
        )


def test_labeled_answers_to_one_prompt_repeat_nothing_but_their_copies_do():
    """As pairs that were split: two answers to every prompt."""
    pairs = [
        example
        for pair in b.pairs(60)
        for example in (
            Labeled(pair.prompt, pair.chosen, True, f"{pair.id}.chosen"),
            Labeled(pair.prompt, pair.rejected, False, f"{pair.id}.rejected"),
        )
    ]
    assert "duplicated-prompts" not in {f.name for f in b.found_in_data(pairs)}
    found = {f.name: f for f in b.found_in_data(pairs + pairs[:40])}
    assert found["duplicated-prompts"].why.startswith(
        "40 of 160 examples (25 %) repeat an earlier prompt with"
    )


def test_an_answer_labeled_both_ways_is_a_conflict():
    """Two rows of sixty say the opposite of each other; twenty stop the run."""
    healthy = labeled_rows(5, 5)
    for count, severity in ((1, "warning"), (10, "error")):
        turned = [replace(row, label=not row.label, id=f"again-{n}") for n, row in enumerate(healthy[:count])]
        (found,) = [f for f in b.found_in_data(healthy + turned) if f.name == "conflicting-labels"]
        assert (found.count, found.severity) == (2 * count, severity)


def test_days_are_said(monkeypatch):
    """60,000 rows of 500 tokens: 2 * 4.9e8 * 3e7 * 3 = 8.9e16 operations, at 4e10 a second 26 days."""
    (found,) = loaded(monkeypatch, 900.0, row_tokens=500.0, rows=60_000)
    assert found.name == "duration" and "about 26 days" in found.why


def test_a_long_run_names_bfloat16_where_its_products_were_measured_faster(monkeypatch):
    """460 GFLOP/s beside 230 in float32 is twice; 115 is half, and None is a processor without it."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for rate, named in ((460.0, True), (115.0, False), (None, False)):
        measured = Measurement(Rates(110.0, 230.0), Rates(1.0, 1.0), Rates(1.0, 1.0), rate)
        monkeypatch.setattr("boresight.models.kernels.libraries.measurement", lambda m=measured: m)
        (found,) = loaded(monkeypatch, 900.0, row_tokens=500.0, rows=60_000)
        assert ("model.dtype=bfloat16, whose products are 2.0 times as fast" in found.fix) == named


def test_answers_twice_as_long_at_two_evaluations_are_length_drift():
    assert "length-drift" in [f.name for f in logged(held_answer_len=lambda t: 10 + 30 * t)]
    assert "length-drift" not in [
        f.name for f in logged(held_answer_len=lambda t: 10 + (25 if t == 0.5 else 0))
    ]


@pytest.mark.parametrize(
    ("answers", "falls_to", "found"), [(4, 0.0, False), (8, 0.25, False), (8, 0.125, True)]
)
def test_a_fall_that_so_few_answers_cannot_show_is_no_warning(answers, falls_to, found):
    """Clopper-Pearson at 95 %: 4 of 4 is above 0.40, 0 of 4 below 0.60. 8 of 8 is above 0.631, 2 of 8 below
    0.651 and 1 of 8 below 0.527."""
    for name, first, last in (("stopped_share", 1.0, falls_to), ("repetition_share", 0.0, 1.0 - falls_to)):
        curve = lambda t, first=first, last=last: last if t > 0.5 else first  # noqa: E731
        warned = logged(held_answers=flat(answers), **{f"held_{name}": curve})
        assert bool(warned) == found
        if found:
            assert f"{round(answers * last)} of {answers} answers" in warned[0].why


def test_shares_of_answers_whose_number_is_not_logged_are_not_judged():
    lines = [
        (step, split, {name: value for name, value in numbers.items() if name not in b.SUPPORT})
        for step, split, numbers in b.log(
            held_stopped_share=lambda t: 1 - t, held_answer_len=lambda t: 9 + 50 * t
        )
    ]
    assert b.found_live(lines) == []


def test_lengths_within_their_error_have_not_drifted():
    """From 13 to 40 tokens, 27 apart: more than 2 · √(8² + 8²) = 22.6, less than 2 · √(10² + 10²) = 28.3."""
    grown = {"held_answer_len": lambda t: 10 + 30 * t}
    for error, found in ((8.0, True), (10.0, False)):
        names = [f.name for f in logged(held_answer_len_error=flat(error), **grown)]
        assert ("length-drift" in names) == found


def test_a_held_out_reward_of_few_prompts_cannot_be_called_flat():
    """Samples gain about 0.4; with an error of 0.25 on both sides held-out prompts would not show that."""
    curves = {"reward": lambda t: 0.2 + 0.5 * t, "held_reward": flat(0.2)}
    assert "reward-flat-held-out" in [f.name for f in logged(**curves)]
    assert logged(held_reward_error=flat(0.25), **curves) == []


def test_a_score_of_few_rows_has_not_been_seen_to_stay():
    curves = {"held_kl_per_token": lambda t: 0.01 * 2 ** (10 * t), "held_accuracy": flat(0.7)}
    for rows, found in ((50, True), (49, False)):
        names = [f.name for f in b.found_live(b.log(**curves), eval_rows=rows)]
        assert ("over-optimization" in names) == found


def some_swapped(count, of):
    """`of` pairs with different scores, of which `count` contradict their labels, and 20 with equal ones."""
    some = b.pairs()[: of + 20]
    scored = [b.swapped(p, scores=True) for p in some[:count]] + some[count:of]
    return b.found_in_data(scored + [replace(p, rejected_score=p.chosen_score) for p in some[of:]])


@pytest.mark.parametrize(
    ("count", "of", "name"),
    [
        (1, 30, None),  # at least 0.1 %
        (3, 100, None),  # at least 0.6 %
        (4, 100, "labels-noisy"),  # at least 1.1 %
        (19, 50, "labels-noisy"),  # 38 %, at least 24.7 %: no coin toss as far as this can show
        (20, 50, "labels-random"),  # 40 %, at least 26.4 %
        (23, 30, "labels-swapped"),
    ],
)
def test_labels_are_called_what_their_number_can_show(count, of, name):
    found = {f.name: f for f in some_swapped(count, of)}
    assert [n for n in found if n.startswith("labels-")] == ([name] if name else [])
    if name:
        assert f"of {of} pairs with different scores" in found[name].why


@pytest.mark.parametrize(("count", "found"), [(10, False), (11, True)])
def test_a_phrase_that_few_answers_have_gives_no_label_away(count, found):
    """Of 40 chosen answers and no rejected one: 10 against 0 has p = 2/1024, 11 against 0 half of it."""
    some = b.pairs()[:40]
    opened = [
        replace(p, chosen=[{**p.chosen[0], "content": f"To be sure, {p.chosen[0]['content']}"}]) for p in some
    ]
    why = {f.name: f.why for f in b.found_in_data(opened[:count] + some[count:])}
    assert ("boilerplate" in why) == found
    if found:
        assert why["boilerplate"].startswith(
            "28 % of 40 chosen answers carry 'To be sure,' against 0 % of the others"
        )


def test_phrases_of_equal_share_are_named_in_one_order_whatever_the_hash_seed():
    some = b.pairs()[:40]
    ends = [
        replace(p, chosen=[{**p.chosen[0], "content": f"Oh well, yes. {n} So be it."}])
        for n, p in enumerate(some)
    ]
    why = {f.name: f.why for f in b.found_in_data(ends)}["boilerplate"]
    assert why == (
        "100 % of 40 chosen answers carry 'Oh well, yes.' against 0 % of the others, so the phrase reveals "
        "the label. Also 'So be it.' (chosen, 100 % against 0 %)."
    )


def test_a_model_that_learns_where_to_end_has_no_length_to_drift_from():
    shorter = {"held_answer_len": lambda t: 60 - 50 * t}
    assert "length-drift" in [f.name for f in logged(held_stopped_share=flat(0.9), **shorter)]
    assert "length-drift" not in [f.name for f in logged(held_stopped_share=flat(0.1), **shorter)]


@pytest.mark.parametrize("name", ["countdown-tiny-solutions", "countdown-traces"])
def test_generated_demonstrations_are_healthy(name):
    """They repeat little of their prompts but numbers that many prompts have."""
    assert not b.found_in_data(read_generated(f"generate:{name}").examples)


def test_pairs_of_xpo_that_cannot_be_scored_are_counted_too():
    assert "rewards-missing" in [f.name for f in logged(unscorable_share=flat(0.2))]


RAMP_AND_ROLLOUTS = {"harm-ahead", "answers-of-another-model", "no-gain-in-ramp", "rewards-tie"}


def test_no_check_is_without_a_planted_fault():
    planted = {name for _, name in FAULTS.values()} | set(PLANTED) | set(DIAGNOSIS.values())
    checks = {check.__name__.replace("_", "-") for area in AREAS for check in checks_of(area)}
    with_a_machine, probed = {"memory", "duration"}, RAMP_AND_ROLLOUTS
    assert checks - planted == with_a_machine | probed  # above, and in test_ramp and test_rollout_probe
