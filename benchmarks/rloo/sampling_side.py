"""Sampling the prompts of `rollout.py` by the sampler of one commit; prints one line of JSON.

The modules are those of the commit whose `src` and `benchmarks` folders PYTHONPATH names.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import torch
from rollout import PROMPTS, SamplingParams, encoded, load_model, load_tokenizer, sample


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    model, tokenizer = load_model(job["model"]), load_tokenizer(job["model"])
    prompts, stop = encoded(tokenizer, len(PROMPTS)), (tokenizer.eos_token_id,)
    seconds, tokens = [], []
    for step in range(job["steps"]):
        params = SamplingParams(
            max_new_tokens=job["max_new_tokens"], seed=1000 * job["seed"] + step, stop_token_ids=stop
        )
        started = time.perf_counter()
        samples = sample(model, prompts, params, job["k"])
        seconds.append(time.perf_counter() - started)
        tokens.append(sum(len(s.ids) for group in samples for s in group))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "tokens": tokens, "peak_gb": peak}))


if __name__ == "__main__":
    main()
