"""Settings that cannot act are refused where a recipe is given, and kept where a run has stored them."""

import pytest
import yaml

import boresight
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.synthesis.recipe import SynthesisRecipe

MINIMAL = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
ONLINE = MINIMAL | {"method": {"name": "rloo"}, "reward": "length"}
PAIRED = MINIMAL | {"method": {"name": "xpo"}, "reward": "length"}
UNHELD = {"train": "x.jsonl", "eval_rows": 0}
NO_ROWS = "with data.eval_rows=0, which holds out no rows"
SERVER = {"backend": "vllm", "base_url": "http://127.0.0.1:8000"}


def write(folder, raw):
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize(
    ("raw", "key", "why"),
    [
        (
            MINIMAL | {"rollout": {"max_new_tokens": 7, "k": 99}},
            "rollout.k",
            "with dpo, which samples no answers",
        ),
        (MINIMAL | {"rollout": SERVER}, "rollout.backend", "with dpo, which samples no answers"),
        (
            PAIRED | {"rollout": {"k": 4}},
            "rollout.k",
            "with xpo, which samples two answers per prompt at every step",
        ),
        (
            PAIRED | {"rollout": {"updates": 2}},
            "rollout.updates",
            "with xpo, which samples two answers per prompt at every step",
        ),
        (
            ONLINE | {"rollout": {"importance_cap": 3.0}},
            "rollout.importance_cap",
            "without rollout.backend=vllm",
        ),
        (MINIMAL | {"data": UNHELD | {"eval_half": "selection"}}, "data.eval_half", NO_ROWS),
        (MINIMAL | {"data": UNHELD | {"eval": "y.jsonl"}}, "data.eval", NO_ROWS),
        (MINIMAL | {"data": UNHELD, "train": {"eval_every": 5}}, "train.eval_every", NO_ROWS),
        (MINIMAL | {"data": UNHELD, "evaluate": {"kl_rows": 5}}, "evaluate.kl_rows", NO_ROWS),
        (MINIMAL | {"data": UNHELD, "check": {"probes": 5}}, "check.probes", NO_ROWS),
    ],
)
def test_a_setting_that_cannot_act_is_refused(raw, key, why, tmp_path):
    path = write(tmp_path / "mine", raw)
    with pytest.raises(UserError) as found:
        Recipe.load(path)
    assert str(found.value) == f"{path}: {key} has no effect {why}; remove it."
    with pytest.raises(UserError, match="has no effect"):
        boresight.check(raw, rows=100)


@pytest.mark.parametrize(
    "raw",
    [
        MINIMAL | {"rollout": {"k": 8, "max_new_tokens": 128}},
        PAIRED | {"rollout": {"k": 2}},  # which such a method samples in any case
        MINIMAL | {"data": UNHELD, "evaluate": {"samples": 0, "kl_rows": 0}, "check": {"probes": 0}},
        MINIMAL | {"data": UNHELD, "evaluate": {"prompts": "p.jsonl"}, "train": {"eval_every": 5}},
        MINIMAL | {"reward": "length", "evaluate": {"rewarded": 5}},
        ONLINE | {"rollout": {"k": 4, "max_new_tokens": 7, "updates": 2}},
        ONLINE | {"rollout": SERVER | {"importance_cap": 3.0}},
        PAIRED | {"rollout": {"max_new_tokens": 7}},
    ],
)
def test_defaults_what_is_off_and_what_acts_are_accepted(raw, tmp_path):
    """A setting at its default, or at 0, false or null, asks for nothing."""
    recipe = Recipe.load(write(tmp_path / "mine", raw))
    assert recipe.without_effect() == {}
    assert Recipe.load(write(tmp_path / "resolved", recipe.to_dict())) == recipe


def test_the_recipe_in_the_folder_of_a_run_is_read_as_it_was_accepted(tmp_path):
    """Earlier versions accepted it, and `boresight train runs/old` resumes that run."""
    stored = Recipe.parse(MINIMAL | {"rollout": {"k": 99}})
    path = write(tmp_path / "old", stored.to_dict())
    assert Recipe.of_run(path) == stored
    (tmp_path / "old" / "environment.json").write_text("{}")
    assert Recipe.load(path) == stored
    assert Recipe.load(path, ["train.seed=1"]).rollout.k == 99
    assert Recipe.completed(stored.to_dict()) == stored.to_dict()


def test_the_command_line_is_named_where_it_gives_the_setting(tmp_path):
    path = write(tmp_path / "mine", MINIMAL)
    with pytest.raises(UserError, match=r"^command line: rollout\.k has no effect with dpo"):
        Recipe.load(path, ["rollout.k=4"])


def test_a_sweep_over_what_cannot_act_is_refused(tmp_path):
    """The grid's first value is the default, which alone would pass."""
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump({"recipe": MINIMAL, "space": {"rollout.k": [8, 16]}, "metric": "accuracy"})
    )
    with pytest.raises(UserError, match=r"rollout\.k has no effect with dpo"):
        SweepRecipe.load(tmp_path / "sweep.yaml")
    (tmp_path / "groups.yaml").write_text(
        yaml.safe_dump({"recipe": ONLINE, "space": {"rollout.k": [8, 16]}, "metric": "reward"})
    )
    SweepRecipe.load(tmp_path / "groups.yaml")


URL = "http://127.0.0.1:8000/v1"
SYNTHESIS = {
    "endpoints": {"policy": {}, "api": {"base_url": URL}},
    "answers": {"policy": {"by": "policy"}},
    "judge": {"name": "checks", "check": "good_answer"},
}
SIDED = {
    "endpoints": {"policy": {}},
    "answers": {
        "good": {"by": "policy", "side": "chosen"},
        "bad": {"by": "policy", "side": "rejected"},
    },
}
AT_ENDPOINT = {"name": "reward_endpoint", "endpoint": URL, "model": "rm"}
GIVEN = {"systems": {"one": {"answers": "one.jsonl"}, "other": {"model": "starter"}}}
BY_REWARD = GIVEN | {"reward": "length"}
BY_JUDGE = GIVEN | {"judge": {"name": "checks", "check": "good_answer"}}
BY_PEOPLE = GIVEN | {"judge": {"name": "recorded", "file": "verdicts.jsonl"}}
ON_TASKS = {"systems": {"one": {"model": "starter"}}, "lm_eval": {"tasks": ["arc_easy"]}}
HERE = "since the model runs in this process"
PRICE = {"input": 1.0, "output": 1.0}
SERVED = {"base_url": URL, "price": PRICE, "limits": {"rpm": 5}, "timeout": 9.0, "batch": True}


def behind(endpoint):
    return {"prompts": "p.jsonl", "systems": {"api": {"endpoint": endpoint}}, "reward": "length"}


@pytest.mark.parametrize(
    ("kind", "raw", "key", "why"),
    [
        *[
            (
                SynthesisRecipe,
                SYNTHESIS | {"endpoints": {"policy": {name: value}}},
                f"endpoints.policy.{name}",
                f"without endpoints.policy.base_url, {HERE}",
            )
            for name, value in {
                "batch": True,
                "price": PRICE,
                "timeout": 9.0,
                "structured": "prompt",
                "token_limit": "max_completion_tokens",
                "key_env": "A_KEY",
            }.items()
        ],
        (
            SynthesisRecipe,
            SYNTHESIS | {"endpoints": {"policy": {"limits": {"max_concurrency": 9, "rpm": 5}}}},
            "endpoints.policy.limits.rpm",
            f"without endpoints.policy.base_url, {HERE}",
        ),
        (
            EvaluationRecipe,
            behind({"timeout": 9.0}),
            "systems.api.endpoint.timeout",
            f"without systems.api.endpoint.base_url, {HERE}",
        ),
        (
            SynthesisRecipe,
            SYNTHESIS | {"prompts": {"overlap_words": 9}},
            "prompts.overlap_words",
            "without prompts.held_out",
        ),
        (
            SynthesisRecipe,
            SYNTHESIS | {"pairs": {"leaks": True}},
            "pairs.leaks",
            "without answers.side, which alone makes the two sides differ",
        ),
        *[
            (
                SynthesisRecipe,
                SIDED | {"pairs": {name: 2}},
                f"pairs.{name}",
                "with answers.side, which decides the pairs",
            )
            for name in ("margin", "per_prompt")
        ],
        (
            SynthesisRecipe,
            SYNTHESIS | {"judge": AT_ENDPOINT | {"budget": {"max_requests": 1}}},
            "judge.budget",
            "in a synthesis, whose `budget` covers the judge too",
        ),
        (
            EvaluationRecipe,
            BY_REWARD | {"layout": "prompts"},
            "layout",
            "without prompts, whose layout it names",
        ),
        (
            EvaluationRecipe,
            BY_REWARD | {"ledger": "x.sqlite"},
            "ledger",
            "without rank_by, whose scores it stores",
        ),
        (
            EvaluationRecipe,
            BY_JUDGE | {"systems": GIVEN["systems"] | {"served": {"model": "starter", "key_env": "A_KEY"}}},
            "systems.served.key_env",
            "without systems.served.base_url, the server that it is for",
        ),
        (
            EvaluationRecipe,
            BY_PEOPLE | {"trust": {"controls": 9}},
            "trust.controls",
            "with the judge recorded, which has verdicts on the systems' answers alone",
        ),
        (
            EvaluationRecipe,
            ON_TASKS | {"generate": {"device": "cpu", "top_k": 5}},
            "generate.top_k",
            "with lm_eval, whose tasks have their own settings of sampling",
        ),
    ],
)
def test_settings_of_other_recipes_that_cannot_act_are_refused(kind, raw, key, why, tmp_path):
    path = write(tmp_path / "mine", raw)
    with pytest.raises(UserError) as found:
        kind.load(path)
    assert str(found.value) == f"{path}: {key} has no effect {why}; remove it."
    stored = kind.parse(raw)  # as the folder of an earlier run has it
    assert kind.parse(stored.to_dict()) == stored


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (SynthesisRecipe, SYNTHESIS | {"endpoints": {"policy": {"limits": {"max_concurrency": 9}}}}),
        (SynthesisRecipe, SYNTHESIS | {"endpoints": {"policy": SERVED}}),
        (SynthesisRecipe, SYNTHESIS | {"prompts": {"overlap_words": 9, "held_out": ["held.jsonl"]}}),
        (SynthesisRecipe, SIDED | {"pairs": {"leaks": True, "margin": 0.0, "per_prompt": 1}}),
        (SynthesisRecipe, SYNTHESIS | {"judge": AT_ENDPOINT, "budget": {"max_requests": 9}}),
        (EvaluationRecipe, GIVEN | {"prompts": "p", "judge": AT_ENDPOINT | {"budget": {"max_requests": 1}}}),
        (EvaluationRecipe, behind({"base_url": URL, "timeout": 9.0})),
        (EvaluationRecipe, BY_REWARD | {"prompts": "p.jsonl", "layout": "prompts"}),
        (EvaluationRecipe, BY_REWARD | {"ledger": "x", "rank_by": BY_JUDGE["judge"]}),
        (EvaluationRecipe, BY_JUDGE | {"trust": {"controls": 9}, "ledger": "x.sqlite"}),
        (EvaluationRecipe, BY_PEOPLE | {"trust": {"controls": 0, "repeats": 0}}),
        (EvaluationRecipe, ON_TASKS | {"generate": {"device": "cpu", "allow_weights": ["x"]}}),
        (
            EvaluationRecipe,
            BY_JUDGE | {"systems": {"a": {"answers": "a.jsonl"}, "b": {"answers": "b.jsonl"}},
                        "generate": {"temperature": 1.0}},
        ),
    ],
)  # fmt: skip
def test_settings_of_other_recipes_that_act_are_accepted(kind, raw, tmp_path):
    recipe = kind.load(write(tmp_path / "mine", raw))
    assert recipe.without_effect() == {}
    assert kind.load(write(tmp_path / "resolved", recipe.to_dict())) == recipe


@pytest.mark.parametrize(("settings", "differing"), [({"timeout": 9.0}, "key_env, timeout"), ({}, "key_env")])
def test_a_judge_at_an_endpoint_of_the_recipe_has_no_other_settings(settings, differing):
    """One model at one address has one set of limits and one price: those of `endpoints`."""
    raw = SYNTHESIS | {
        "answers": {"api": {"by": "api"}},
        "judge": {"name": "reward_endpoint", "endpoint": URL, "model": "starter", **settings},
    }
    with pytest.raises(UserError, match=rf"judge and endpoints\.api are one model .* differ in {differing};"):
        SynthesisRecipe.parse(raw)
    SynthesisRecipe.parse(raw | {"judge": raw["judge"] | {"timeout": 120.0, "key_env": "OPENAI_API_KEY"}})
