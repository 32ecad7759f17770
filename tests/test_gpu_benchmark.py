"""`benchmarks/gpu.py` and `throughput.py`: arithmetic by hand, our side here, the whole program on a CPU."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def part(monkeypatch):
    """A module of the benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"gpu_step.{name}")


@pytest.fixture
def throughput(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("throughput")


@pytest.fixture
def small():
    """One layer of width 4, MLP 8, two heads of 2 and one pair of keys and values; vocabulary 10."""
    config = SimpleNamespace(
        hidden_size=4,
        intermediate_size=8,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=1,
        vocab_size=10,
    )
    config.get_text_config = lambda: config
    return config


def test_operations_of_a_row_by_hand(part, throughput, small):
    """Weights of the layer: 4 * (4 + 2 + 2 + 4) + 3 * 4 * 8 = 144. A prompt of 3 and an answer of 2 are 5
    tokens: 3 passes * 2 * 144 * 5 = 4320. Pairs that attend, to first order: 9 / 2 + 2 * 3 + 4 / 2 = 12.5;
    two products of width 4 in 3 passes: 3 * 2 * 2 * 4 * 12.5 = 600. Head: 3 * 2 * 4 * 10 * 2 = 480.
    """
    cases = part("cases")
    assert throughput.row_operations(small, 3, [2], 3) == 4320 + 600 + 480
    assert throughput.row_operations(small, 3, [2], 1, 1) == (4320 + 600 + 480) / 3
    rloo = cases.Case("rloo", prompt=3, answer=2, k=1, batch=2)
    assert rloo.operations(small, lora=False) == 2 * 5400 * 4 / 3  # the reference's forward as well
    assert rloo.tokens == 2 * 5


def test_bytes_of_a_decoding_step_by_hand(throughput, small):
    """Two prompts of 3 and 5 tokens with 4 completions of 6 tokens each, in bfloat16.

    Matrices of the layer 144, the head 4 * 10 = 40. Keys and values are 2 * 2 numbers a token: the prompts'
    8 tokens once, and 2 * 4 * 6 = 48 of the completions, (8 + 48) * 4 = 224. 2 * (144 + 40 + 224) bytes.
    """
    assert throughput.decode_bytes(small, [3, 5], 4, 6, 2) == 816


def test_a_share_of_a_peak_by_hand(throughput):
    """2 * 989e12 operations in 4 seconds are half of an H100's peak; without a peak there is no share."""
    peak = throughput.peak_flops("NVIDIA H100 80GB HBM3", "bfloat16")
    assert throughput.share(989e12 * 2, 4, peak) == 0.5
    assert throughput.share(989e12 * 2, 4, None) is None


def test_the_peak_of_a_device_by_its_name(throughput):
    """The longest name that fits; an unknown device has none, and neither has another precision."""
    peak = throughput.peak_flops
    assert peak("NVIDIA H100 80GB HBM3", "bfloat16") == 989e12
    assert peak("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert peak("NVIDIA A100-SXM4-80GB", "bfloat16") == 312e12
    assert peak("NVIDIA L40S", "bfloat16") == 362e12
    assert peak("NVIDIA L4", "bfloat16") == 121e12
    assert peak("NVIDIA L40", "bfloat16") is None
    assert peak("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16") is None
    assert peak("NVIDIA H100 PCIe", "float32") is None
    assert peak("CPU", "bfloat16") is None
    memory = throughput.peak_bandwidth
    assert memory("NVIDIA H200") == 4.8e12 and memory("NVIDIA H100 PCIe") == 2e12
    assert memory("NVIDIA A100-SXM4-40GB") == 1.555e12 and memory("NVIDIA B200") is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["sft", "dpo", "rloo"])
def test_our_side_steps(part, method, dtype, tmp_path, monkeypatch, capsys):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    cases = part("cases")
    case = next(c for c in cases.CASES if c.method == method).smaller()
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**cases.TINY)).save_pretrained(tmp_path / "model")
    job = {
        "method": method,
        "model": str(tmp_path / "model"),
        "rows": cases.rows_of(case, 3, cases.TINY["vocab_size"]),
        "lora": None,
        "batch": case.batch,
        "steps": 3,
        "warm": 1,
        "lr": 1e-6,
        "dtype": dtype,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "tokens_per_forward": 64,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    monkeypatch.setattr(sys, "argv", ["boresight_side", str(tmp_path / "job.json")])
    part("boresight_side").main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["seconds"] > 0 and result["gemm_rate"] > 0 and len(result["losses"]) == 3
    expected = {"sft": math.log(cases.TINY["vocab_size"]), "dpo": math.log(2)}
    if method in expected:
        assert result["losses"][0] == pytest.approx(expected[method], abs=0.1)


@pytest.mark.slow
def test_the_whole_program_without_trl(tmp_path):
    """MFU against a peak that is given: the operations of a step over its seconds and 0.1 TFLOP/s."""
    out = tmp_path / "numbers.json"
    options = ["--device", "cpu", "--tiny", "--repeats", "1", "--steps", "3", "--warm", "1"]
    options += ["--threads", "1", "--peak-tflops", "0.1", "--trl-python", str(tmp_path / "none")]
    command = [sys.executable, BENCHMARKS / "gpu.py", *options, "--json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TRL is not there" in done.stdout
    numbers = json.loads(out.read_text())
    assert [row["case"] for row in numbers["rows"]] == ["sft, full", "dpo, full", "rloo, full"]
    for row in numbers["rows"]:
        needed = row["operations_per_step"] / (row["seconds_per_step"] * 0.1e12)
        assert row["mfu"] == pytest.approx(needed) and "speed_ratio" not in row


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py"], capture_output=True, text=True)
    assert done.returncode == 1 and "torch sees no CUDA device" in done.stderr
