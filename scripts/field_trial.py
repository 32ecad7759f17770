"""Try every verb on real data, real models and files that are known to break things, as a user would.

    python scripts/field_trial.py --shared ../shared                       # everything that was not tried yet
    python scripts/field_trial.py --shared ../shared --only starter --minutes 30
    python scripts/field_trial.py --shared ../shared --table               # what is known so far

What must happen is written in `field_trial_cases.yaml`. Every outcome is one of: right; refused, with the
expected sentence from check and train; wrong; traceback; silent, where a fault went through. Outcomes are
kept in `--out`, one JSON line each, so a trial goes on where it stopped; `--again` tries once more what was
neither right nor refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

ROOT = Path(__file__).parents[1]
CASES = yaml.safe_load(Path(__file__).with_name("field_trial_cases.yaml").read_text(encoding="utf-8"))
REWARDS = """
def words(prompts, completions, rows):
    return [float(len(text.split())) for text in completions]


def has_gold(prompts, completions, rows):
    return [float(len(row["answer"]) > 0) + len(text) / 1000 for row, text in zip(rows, completions)]
"""
BASE = {
    "data": {"limit": 40, "eval_rows": 8, "max_length": 768},
    "train": {"batch": 4, "steps": 5, "save_every": 2, "keep": 9},
    "evaluate": {"samples": 2, "rewarded": 2, "max_new_tokens": 12, "kl_rows": 2},
    "check": {"probes": 1, "allow": []},
}
GOOD = ("right", "refused")
CRASHED = (70, 255, *range(-64, 0))
"""Exit codes of an internal error, of an exception in this script, and of a signal."""
VERBS = ("read", "check", "train", "resume", "evaluate", "export")


@dataclass
class Case:
    """One model on one file, and what must happen."""

    model: str
    place: str
    name: str
    file: Path
    recipe: str
    expect: str = "right"
    rows: int | None = None
    learned: str | None = None
    context: str | None = None
    never: str | None = None
    set: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Name among the outcomes."""
        return f"{self.model} × {self.name}"


@dataclass
class Done:
    """What a verb did: exit code (negative for a signal), the end of its output, and stderr."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line of a refusal."""
        return next((line for line in self.err.splitlines() if line.startswith("boresight: ")), "")


def main(
    shared: Annotated[Path, typer.Option(help="Folder with data/ and faults/.")],
    out: Annotated[Path, typer.Option(help="Folder of outcomes and runs.")] = Path("runs/field-trial"),
    models: Annotated[
        Path | None, typer.Option(help="Folder of further real models, one folder each.")
    ] = None,
    only: Annotated[str, typer.Option(help="Pattern of the cases to try, `model × set`.")] = "",
    minutes: Annotated[float, typer.Option(help="Stop after this long; run again to go on.")] = 30.0,
    again: Annotated[bool, typer.Option(help="Try what was not right or refused once more.")] = False,
    table: Annotated[bool, typer.Option(help="Try nothing; print what is known.")] = False,
) -> None:
    """Try the cases that have no outcome yet and print the table of all."""
    out, shared = out.resolve(), shared.resolve()
    out.mkdir(parents=True, exist_ok=True)
    outcomes = known_outcomes(out)
    started = time.monotonic()
    for case in [] if table else all_cases(shared, out, models):
        if not re.search(only, case.key) or not is_due(outcomes.get(case.key), again):
            continue
        if time.monotonic() - started > 60 * minutes:
            print("out of time; run again to go on")
            break
        outcomes[case.key] = outcome = try_case(case, out)
        with (out / "outcomes.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome) + "\n")
        done = f"{outcome['verdict']:10}{outcome['seconds']:5.0f} s"
        print(done, case.key, outcome["what"], sep="  ", flush=True)
    print_table(outcomes)


def is_due(tried: dict[str, Any] | None, again: bool) -> bool:
    """Whether a case is to be tried, given its last outcome."""
    return tried is None or (again and tried["verdict"] not in GOOD)


def known_outcomes(out: Path) -> dict[str, dict[str, Any]]:
    """Outcomes by case, the last one of each."""
    file = out / "outcomes.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {outcome["case"]: outcome for outcome in map(json.loads, lines)}


# Cases ------------------------------------------------------------------------------------------------------


def all_cases(shared: Path, out: Path, models: Path | None) -> Iterator[Case]:
    """Every case, the cheap ones first; model folders are built when they are first needed."""
    tiny = tiny_models(shared, out)
    for name, settings in CASES["faults"].items():
        file = shared / "faults" / settings["file"]
        yield Case("tiny-qwen2.5", tiny["tiny-qwen2.5"], name, file, **without_file(settings))
    pairs = shared / "faults" / "broken_weights" / "pairs.jsonl"
    for name, expect in CASES["broken_models"].items():
        broken_models(shared, out)
        yield Case(name, f"models/{name}", "pairs", pairs, "dpo", expect)
    sets = {name: data_case(shared, name) for name in CASES["sets"]}
    for model, place in tiny.items():
        for name in CASES["families"]["sets"]:
            yield Case(model, place, name, **sets[name] | {"set": CASES["families"]["set"]})
    real = {"starter": "starter"} | {p.name: str(p) for p in sorted(models.iterdir() if models else [])}
    for model, place in real.items():
        needs = [*CASES["real"]["set"], *CASES["models"].get(model, [])]
        for name, settings in sets.items():
            yield Case(model, place, name, **settings | {"set": [*settings.get("set", []), *needs]})


def data_case(shared: Path, name: str) -> dict[str, Any]:
    """The settings of a data set."""
    settings = CASES["sets"][name]
    return {"file": shared / "data" / settings["file"]} | without_file(settings)


def without_file(settings: dict[str, Any]) -> dict[str, Any]:
    """Everything but the file."""
    return {name: value for name, value in settings.items() if name != "file"}


def tiny_models(shared: Path, out: Path) -> dict[str, str]:
    """One tiny random model per family, and one with the tokenizer and template of Qwen2.5."""
    folder = out / "tiny"
    if not folder.is_dir():
        sys.path.insert(0, str(ROOT))
        import torch
        import transformers
        from tests.models.families import FAMILIES, config_of
        from tests.tiny import tiny_tokenizer

        for family in FAMILIES:
            torch.manual_seed(0)
            config = config_of(family)
            text = config.get_text_config()
            for name in ("vocab_size", "vocab_size_per_layer_input"):
                if hasattr(text, name):
                    setattr(text, name, len(tiny_tokenizer()))
            with contextlib.suppress(Exception):  # families without a causal model of their own
                model = transformers.AutoModelForCausalLM.from_config(config)
                save(model, tiny_tokenizer(), folder / re.sub(r"\W+", "-", family.lower()).strip("-"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(shared / "data" / "qwen25_tokenizer")
        config = transformers.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
        save(transformers.Qwen2ForCausalLM(config), tokenizer, folder / "qwen2.5")
    return {f"tiny-{path.name}": str(path) for path in sorted(folder.iterdir())}


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model and its tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def broken_models(shared: Path, out: Path) -> Path:
    """The model folders of `faults/models.py`; their adapters call the base `models/base`."""
    folder = out / "broken"
    if not folder.is_dir():
        folder.mkdir()
        script = shared / "faults" / "models.py"
        subprocess.run([sys.executable, str(script)], cwd=folder, check=True, capture_output=True)
        shutil.copytree(
            shared / "faults" / "remote_code", folder / "models" / "remote_code", dirs_exist_ok=True
        )
    return folder / "models"


# Trying -----------------------------------------------------------------------------------------------------


def try_case(case: Case, out: Path) -> dict[str, Any]:
    """Run the verbs on a case in a folder of its own, which is deleted where all went well."""
    started = time.monotonic()
    folder = out / "work" / re.sub(r"\W+", "-", case.key)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "trial_rewards.py").write_text(REWARDS, encoding="utf-8")
    (folder / "models").symlink_to(out / "broken" / "models")
    recipe = CASES["recipes"][case.recipe]
    model, data = recipe["model"] | {"name": case.place}, BASE["data"] | {"train": str(case.file)}
    raw = BASE | recipe | {"model": model, "data": data}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    verdict, what, by_verb = judge(case, folder)
    if verdict in GOOD:
        shutil.rmtree(folder)
    seconds = time.monotonic() - started
    found = {"case": case.key, "expect": case.expect, "verdict": verdict, "what": what, "verbs": by_verb}
    return found | {"seconds": round(seconds, 1), "date": time.strftime("%Y-%m-%d")}


def judge(case: Case, folder: Path) -> tuple[str, str, dict[str, str]]:
    """Verdict, what happened in words, and the outcome of every verb that was run."""
    refused, by_verb = [], {}
    for verb in VERBS:
        done = in_child(lambda verb=verb: ACTIONS[verb](case, folder), folder)
        by_verb[verb] = "ok" if done.code == 0 else f"exit {done.code}"
        if done.code == 0:
            continue
        if done.code in CRASHED or "Traceback" in done.err:
            return "traceback", f"{verb}: {done.err.strip().splitlines()[-1][:160]}", by_verb
        if verb not in ("check", "train") or case.expect == "right":
            return "wrong", f"{verb}: {(done.sentence or done.err.strip())[-240:]}", by_verb
        refused.append(done.sentence)
        if verb == "train":
            break
    if case.expect == "right":
        return "right", "", by_verb
    if not refused:
        return "silent", f"expected {case.expect!r}", by_verb
    if len(refused) == 1:
        return "wrong", f"only one of check and train refuses: {refused[0][:160]}", by_verb
    same, known = refused[0] == refused[1], re.search(case.expect, refused[0])
    return ("refused" if same and known else "wrong"), refused[0][:200], by_verb


def in_child(action: Callable[[], int], folder: Path) -> Done:
    """Run `action` in a forked process, in `folder`, with its output in files."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        try:
            code = action()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 255
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    out, err = (
        (folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")
    )
    return Done(code, out[-2000:], err)


# Verbs ------------------------------------------------------------------------------------------------------


def boresight(*arguments: str) -> int:
    """Run a command line in this process."""
    from boresight.cli.main import main as run

    run(list(arguments))
    return 0


def succeed(*arguments: str) -> None:
    """Run a command line in this process and go on; its failure is the verb's."""
    try:
        boresight(*arguments)
    except SystemExit as end:
        if end.code:
            raise


def read_file(case: Case, folder: Path) -> int:
    """The file gives as many examples as it must, and the right words of them are scored."""
    if case.expect != "right":
        return 0
    from boresight.config.recipe import Recipe
    from boresight.data.reading.split import read_data
    from boresight.data.rendering.choose import ensure_chat_template
    from boresight.data.tokenize import FullRows
    from boresight.models.load import load_tokenizer
    from boresight.training.forward import kind_of

    recipe = Recipe.load(folder / "recipe.yaml", case.set)
    examples = read_data(recipe.data.train, kind_of(recipe).data, recipe.data).examples
    if case.rows is not None and len(examples) != case.rows:
        return complain(f"{len(examples)} examples, {case.rows} expected")
    tokenizer = load_tokenizer(recipe.model.name)
    ensure_chat_template(tokenizer, recipe.model.chat_template)
    learned, context = "", ""
    few = examples[:40]
    outcomes = FullRows(few, tokenizer).outcomes(range(len(few)))
    for row in (row for rows in outcomes if isinstance(rows, list) for row in rows):
        context += tokenizer.decode(row.prompt)
        for completion in row.completions:
            learned += tokenizer.decode(completion.ids[completion.mask])
            context += tokenizer.decode(completion.ids[~completion.mask])
    for pattern, text, wanted in (
        (case.learned, learned, True),
        (case.context, context, True),
        (case.never, learned, False),
    ):
        if pattern and bool(re.search(pattern, text)) != wanted:
            return complain(f"the pattern {pattern!r} is {'not ' if wanted else ''}in the text")
    return 0


def complain(sentence: str) -> int:
    """Say on stderr what is wrong; returns the exit code."""
    print(sentence, file=sys.stderr)
    return 3


def check(case: Case, folder: Path) -> int:
    """`boresight check`."""
    return boresight("check", "recipe.yaml", *case.set)


def train(case: Case, folder: Path) -> int:
    """`boresight train`."""
    return boresight("train", "recipe.yaml", *case.set, "--run", "run")


def resume(case: Case, folder: Path) -> int:
    """A run that goes on from step 2 ends with the same weights."""
    shutil.copytree("run", "cut")
    for name in ("evaluation.json", "end.json", "report.html", "samples.jsonl", "tables"):
        with contextlib.suppress(OSError):
            (Path("cut") / name).unlink()
    shutil.rmtree("cut/model")
    for checkpoint in Path("cut/checkpoints").glob("step-*"):
        if checkpoint.name != "step-2":
            shutil.rmtree(checkpoint)
    succeed("train", "recipe.yaml", *case.set, "--run", "cut", "--resume")
    from safetensors.torch import load_file

    for file in Path("run/model").glob("*.safetensors"):
        old, new = load_file(file), load_file(Path("cut/model") / file.name)
        different = [name for name in old if not old[name].equal(new[name])]
        if different:
            return complain(f"resumed, {len(different)} of {len(old)} weights differ, such as {different[0]}")
    return 0


def evaluate(case: Case, folder: Path) -> int:
    """The start model and the run answer a few prompts, and a program judges them.

    The resumed run stands in for a start model without a chat template.
    """
    start = "cut" if case.model in CASES["models"] else case.place
    recipe = {
        "prompts": str(case.file),
        "limit": 4,
        "systems": {"start": {"model": start}, "trained": {"model": "run"}},
        "generate": {"max_new_tokens": 12},
        "judge": {"name": "checks", "check": "trial_rewards:words"},
        "trust": {"controls": 2, "repeats": 2},
    }
    Path("evaluate.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return boresight("evaluate", "evaluate.yaml", "--run", "evaluation")


def export(case: Case, folder: Path) -> int:
    """The exported model gives transformers the log-probabilities that the run has."""
    succeed("export", "run", "--to", "exported")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from boresight.models.load import load_model

    tokenizer = AutoTokenizer.from_pretrained("exported")
    ids = tokenizer("How far away is the moon, and how does one know?", return_tensors="pt").input_ids
    plain = AutoModelForCausalLM.from_pretrained("exported", dtype=torch.float32).eval()
    with torch.no_grad():
        expected = load_model("run")(ids, use_cache=False).logits.log_softmax(-1)
        found = plain(ids, use_cache=False).logits.log_softmax(-1)
    off = float((expected - found).abs().max())
    return 0 if off < 1e-3 else complain(f"exported, log-probabilities differ by {off:.2g} nats")


ACTIONS = {
    "read": read_file,
    "check": check,
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "export": export,
}


# The table --------------------------------------------------------------------------------------------------


def group_of(model: str, file: str) -> str:
    """The row of the table that counts a case."""
    if file in CASES["faults"]:
        return "tiny model with Qwen2.5's tokenizer × faulty data"
    if model in CASES["broken_models"]:
        return "broken and adapted models × pairs"
    return "tiny families × 3 sets" if model.startswith("tiny-") else f"{model} × sets"


def print_table(outcomes: dict[str, dict[str, Any]]) -> None:
    """Counts by group of models, then every case that was neither right nor refused."""
    verdicts = ("right", "refused", "wrong", "traceback", "silent")
    groups: dict[str, Counter[str]] = {}
    for case, outcome in outcomes.items():
        groups.setdefault(group_of(*case.split(" × ")), Counter())[outcome["verdict"]] += 1
    print("\n| models × files | " + " | ".join(verdicts) + " |\n|---|" + "---|" * len(verdicts))
    rows = [*groups.items(), ("all", sum(groups.values(), Counter()))]
    for name, counts in rows:
        print(f"| {name} | " + " | ".join(str(counts[verdict]) for verdict in verdicts) + " |")
    real, families = (" ".join(CASES[name]["set"]) for name in ("real", "families"))
    print(f"\nReal models with {real}; families with {families}.")
    for case, outcome in outcomes.items():
        if outcome["verdict"] not in GOOD:
            print(f"\n{outcome['verdict']}: {case}: {outcome['what']}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["OMP_NUM_THREADS"] = "1"  # a forked child would wait for threads that it does not have
    import torch  # noqa: F401  # once, for all children
    import transformers

    transformers.utils.logging.disable_progress_bar()
    typer.run(main)
