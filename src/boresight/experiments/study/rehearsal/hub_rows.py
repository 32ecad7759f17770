"""Make up rows with the columns and splits of known data sets on the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HubRow = dict[str, Any]


@dataclass(frozen=True)
class HubShape:
    """Splits of a data set on the hub, and a function `row` that returns its row n with the right columns."""

    splits: tuple[str, ...]
    row: Callable[[int], HubRow]


def _turns(n: int, answer: str) -> list[dict[str, str]]:
    return [{"content": f"Name {n}.", "role": "user"}, {"content": f"{answer} {n}.", "role": "assistant"}]


def _ultrafeedback(n: int) -> HubRow:
    chosen, rejected = _turns(n, "One word for it is"), _turns(n, "No")
    return {
        "prompt": f"Name {n}.",
        "prompt_id": f"{n:064x}",
        "chosen": chosen,
        "rejected": rejected,
        "messages": chosen,
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    }


def _smoltalk(n: int) -> HubRow:
    return {"messages": _turns(n, "It is"), "source": "made-up"}


def _countdown(n: int) -> HubRow:
    return {"target": 7 + n, "nums": [3, 4, n]}


def _cognitive_behaviors(n: int) -> HubRow:
    return {
        "query": f"Make {7 + n} of 3, 4 and {n}.",
        "completion": f"<think>3 + 4 = 7</think> <answer> 3 + 4 + {n} </answer>",
    }


def _kto_mix(n: int) -> HubRow:
    question, answer = _turns(n, "It is")
    return {"prompt": [question], "completion": [answer], "label": n % 2 == 0}


def _gsm8k(n: int) -> HubRow:
    return {"question": f"What is {n} + 2?", "answer": f"{n} + 2 = <<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}"}


def _hh_rlhf(n: int) -> HubRow:
    asked = f"\n\nHuman: Name {n}.\n\nAssistant:"
    return {"chosen": f"{asked} It is {n}.", "rejected": f"{asked} No {n}."}


HUB_SHAPES = {
    "Anthropic/hh-rlhf": HubShape(("train", "test"), _hh_rlhf),
    "Asap7772/cog_behav_all_strategies": HubShape(("train", "test"), _cognitive_behaviors),
    "HuggingFaceH4/ultrafeedback_binarized": HubShape(
        ("train_prefs", "train_sft", "test_prefs", "test_sft", "train_gen", "test_gen"), _ultrafeedback
    ),
    "HuggingFaceTB/smol-smoltalk": HubShape(("train", "test"), _smoltalk),
    "Jiayi-Pan/Countdown-Tasks-3to4": HubShape(("train",), _countdown),
    "openai/gsm8k": HubShape(("train", "test"), _gsm8k),
    "trl-lib/kto-mix-14k": HubShape(("train", "test"), _kto_mix),
}


def synthesized(n: int) -> HubRow:
    """Return row n of preference pairs as `boresight synthesize` writes them."""
    (question, better), (_, worse) = _turns(n, "It is"), _turns(n, "No")
    meta = {"judge": "rubric"}
    return {"id": str(n), "prompt": [question], "chosen": [better], "rejected": [worse], "meta": meta}
