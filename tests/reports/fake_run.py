"""A run folder that looks like a real one: DPO on word limits, 200 steps, 60 prompts answered twice.

    run = write_fake_run(tmp_path / "dpo-word-limits")

Everything is drawn from a seed. `hostile=True` plants markup wherever text from a model, a data file or a
recipe can appear; `python tests/reports/fake_run.py FOLDER` writes one to look at.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from boresight.stats.intervals import mean_interval, paired_difference, share_interval
from tests.odd_text import ODD

ATTACK = f'</script><script>alert(1)</script><img src=x onerror="alert(2)">{ODD}'
"""Markup that would run, and everything else that breaks a page."""

TOPICS = (
    "tides", "bread", "granite", "lighthouses", "honey bees", "the moon", "rust", "glass", "compost", "knots",
    "volcanoes", "owls", "printing", "salt", "windmills", "maple trees", "chess", "fog", "clocks", "coral",
)  # fmt: skip

SHORT = {
    "tides": "Tides rise and fall because the moon's gravity pulls the sea.",
    "bread": "Bread rises when yeast turns sugar into gas inside the dough.",
    "granite": "Granite forms when magma cools slowly, deep below the ground.",
    "honey bees": "Honey bees dance to tell each other where flowers are.",
    "rust": "Rust forms when iron meets water and oxygen.",
}


def write_fake_run(folder: Path, seed: int = 0, steps: int = 200, hostile: bool = False) -> Path:
    """Write a finished run and return its folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "model").mkdir()
    recipe = _recipe(seed)
    if hostile:
        recipe["model"]["name"] = ATTACK
    samples = [_sample(rng, i, hostile) for i in range(60)]
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    _write_json(folder / "environment.json", _environment(hostile))
    _write_json(folder / "data.json", _data(hostile))
    _write_lines(folder / "metrics.jsonl", _metric_lines(rng, steps))
    _write_lines(folder / "samples.jsonl", samples)
    _write_lines(folder / "probes.jsonl", _probe_lines(samples[:4], steps, hostile))
    evaluation = {"metrics": _evaluation(rng, samples, hostile), "same_prompts": {"rows": {}, "answers": {}}}
    _write_json(folder / "evaluation.json", evaluation)
    return folder


def _probe_lines(samples: list[dict[str, Any]], steps: int, hostile: bool) -> list[dict[str, Any]]:
    said = f"Half way there. {ATTACK}" if hostile else "Half way there."
    return [
        {"step": step, "id": sample["id"], "answer": said, "finish": "length"}
        for step in (0, steps // 2, steps)
        for sample in samples
    ]


def _recipe(seed: int) -> dict[str, Any]:
    return {
        "method": {"name": "dpo", "beta": 0.1},
        "model": {
            "name": "starter",
            "dtype": "float32",
            "chat_template": None,
            "lora": {
                "r": 16,
                "alpha": 32,
                "dropout": 0.1,
                "targets": ["q_proj", "k_proj", "v_proj", "o_proj"],
            },
        },
        "data": {"train": "pairs/word-limits.jsonl.gz", "eval": None, "eval_rows": 120, "max_length": 512},
        "optim": {"lr": 2e-4, "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.0, "clip": 1.0},
        "train": {"batch": 8, "epochs": 3.0, "seed": seed},
        "evaluate": {"samples": 60, "max_new_tokens": 64, "temperature": 0.0},
    }


def _environment(hostile: bool) -> dict[str, Any]:
    return {
        "boresight": "0.1.0",
        "python": "3.11.2",
        "versions": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.0"},
        "machine": {"system": "Linux x86_64", "cores": 2, "memory_gb": 16, "device": "cpu"},
        "commit": ATTACK if hostile else "4f1d2a9",
        "command": "boresight train dpo",
    }


def _data(hostile: bool) -> dict[str, Any]:
    path = f"pairs/{ATTACK}.jsonl" if hostile else "pairs/word-limits.jsonl.gz"
    train = {"path": path, "layout": "explicit", "rows": 548, "kept": 533, "truncated": 0, "dropped": 15}
    held_out = {"path": path, "layout": "explicit", "rows": 120, "kept": 120, "truncated": 0, "dropped": 0}
    return {"train": train | {"sha256": "9b1c" * 16}, "eval": held_out | {"sha256": "07aa" * 16}}


def _metric_lines(rng: np.random.Generator, steps: int) -> list[dict[str, Any]]:
    lines, rate_sum = [_held_out_line(rng, 0, 0.0)], 0.0
    for step in range(1, steps + 1):
        progress = step / steps
        rate = 2e-4 * min(1.0, step / (0.1 * steps)) * 0.5 * (1 + math.cos(math.pi * progress))
        rate_sum += rate
        lines.append(_train_line(rng, step, _margin(progress), rate, rate_sum))
        if step % (steps // 8) == 0:
            lines.append(_held_out_line(rng, step, _margin(progress)))
    return lines


def _margin(progress: float) -> float:
    """Nats; saturating, as a run at a sensible rate does."""
    return 6.5 * (1 - math.exp(-3 * progress))


def _train_line(rng, step: int, margin: float, rate: float, rate_sum: float) -> dict[str, Any]:
    drawn = margin + rng.normal(0, 0.5 + 0.12 * margin)
    spread = 1 + 0.55 * margin
    return {
        "step": step,
        "split": "train",
        "loss": math.log1p(math.exp(-0.1 * drawn)) + abs(rng.normal(0, 0.02)),
        "margin": drawn,
        "margin_p10": drawn - 1.28 * spread,
        "margin_p50": drawn,
        "margin_p90": drawn + 1.28 * spread,
        "accuracy": float(rng.binomial(8, min(0.97, 0.5 + 0.075 * margin)) / 8),
        "chosen_logratio": 0.25 * drawn + rng.normal(0, 0.3),
        "rejected_logratio": -0.75 * drawn + rng.normal(0, 0.3),
        "logratio_per_token": -0.012 * margin + rng.normal(0, 0.004),
        "chosen_len": 24 + rng.normal(0, 1.5),
        "rejected_len": 31 + rng.normal(0, 2.5),
        "truncated_share": 0.0,
        "lr": rate,
        "lr_sum": rate_sum,
        "grad_norm": float(np.exp(rng.normal(0.3 - 0.05 * margin, 0.35))),
        "clipped": float(rng.random() < 0.6),
        "tokens_per_second": 640 + rng.normal(0, 25),
        "peak_memory_gb": 3.4,
    }


def _held_out_line(rng, step: int, margin: float) -> dict[str, Any]:
    drawn = 0.85 * margin + rng.normal(0, 0.08) * (step > 0)
    return {
        "step": step,
        "split": "eval",
        "loss": math.log1p(math.exp(-0.1 * drawn)),
        "margin": drawn,
        "accuracy": round((0.5 + 0.062 * drawn) * 120) / 120,
        "chosen_logratio": 0.22 * drawn,
        "rejected_logratio": -0.78 * drawn,
        "kl_per_token": 0.016 * drawn,
    }


def _sample(rng, index: int, hostile: bool) -> dict[str, Any]:
    topic, limit = TOPICS[index % len(TOPICS)], int(rng.integers(10, 16))
    before, after = _answers(rng, topic, limit)
    if hostile and index == 0:
        before, after, topic = f"before {ATTACK}", f"after {ATTACK}", ATTACK
    sentence = {"role": "user", "content": f"Write one sentence about {topic} in at most {limit} words."}
    system = [{"role": "system", "content": "You are a helpful assistant."}] if index % 7 == 3 else []
    return {
        "id": f"limit-{index:03d}",
        "prompt": [*system, sentence],
        "before": before,
        "after": after,
        "before_checks": _checks(before, topic, limit),
        "after_checks": _checks(after, topic, limit),
    }


def _answers(rng: np.random.Generator, topic: str, limit: int) -> tuple[str, str]:
    """Before: mostly too long. After: mostly short, sometimes still long, sometimes off the topic."""
    long = (
        f"Sure! Here is a sentence about {topic}: {topic.capitalize()} are something that many people find "
        "interesting, because there is so much to learn about them and they have been studied for ages."
    )
    short = SHORT.get(topic, f"People have long studied {topic} and still find something new.")
    before = short if rng.random() < 0.12 else long
    fate = rng.random()
    if fate < 0.14:
        return before, long.replace("Sure! Here is a sentence", "Here is one sentence").replace(
            "so much", "much"
        )
    if fate < 0.30:
        return before, "It is something people have studied for ages."
    return before, short


def _checks(answer: str, topic: str, limit: int) -> dict[str, bool]:
    return {
        f"at most {limit} words": len(answer.split()) <= limit,
        "names the topic": topic.lower() in answer.lower(),
        "ends with a full stop": answer.endswith("."),
    }


def _evaluation(rng, samples: list[dict[str, Any]], hostile: bool) -> list[dict[str, Any]]:
    """Four metrics with every outcome a report can show: better twice, not significant, worse."""
    first = [[next(iter(s[f"{side}_checks"].values())) for s in samples] for side in ("before", "after")]
    named = [[s[f"{side}_checks"]["names the topic"] for s in samples] for side in ("before", "after")]
    pairs = [(rng.random(120) < share).tolist() for share in (0.52, 0.81)]
    margins = [np.zeros(120), rng.normal(5.1, 6.0, 120)]
    words = [[float(len(s[side].split())) for s in samples] for side in ("before", "after")]
    label = f"constraints met {ATTACK}" if hostile else "constraints met"
    return [
        _metric("constraints", label, "share", "higher", *first),
        _metric("accuracy", "held-out pairs ranked right", "share", "higher", *pairs),
        _metric("margin", "margin of chosen over rejected", "nats", "higher", *margins),
        _metric("topic", "answers that name their topic", "share", "higher", *named),
        _metric("words", "answer length", "words", "lower", *words),
    ]


def _metric(name: str, label: str, unit: str, better: str, before, after) -> dict[str, Any]:
    mean = share_interval if unit == "share" else mean_interval
    return {
        "name": name,
        "label": label,
        "before": mean(before).as_dict(),
        "after": mean(after).as_dict(),
        "difference": paired_difference(before, after).as_dict(),
        "unit": unit,
        "better": better,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    print(write_fake_run(Path(sys.argv[1])))
