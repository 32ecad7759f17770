"""Every public file that holds preferences, demonstrations or prompts is read, with its known counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from boresight.core.errors import UserError
from boresight.core.schema import Preference
from boresight.data.check_file import check_file
from boresight.data.reading.load import read

pytestmark = pytest.mark.real_data

FILES = [
    ("ultrafeedback_1000/train_clean.jsonl", "plain_pairs", "preference", 998, 2),
    ("hh_rlhf_harmless_test/share.jsonl.gz", "hh_rlhf", "preference", 1711, 6),
    ("llamafactory_demo/dpo_en_demo.json", "sharegpt_pairs", "preference", 300, 0),
    ("llamafactory_demo/v1_dpo_demo.jsonl", "message_pairs", "preference", 10, 0),
    ("llamafactory_demo/alpaca_en_demo.json", "alpaca", "demonstration", 999, 0),
    ("llamafactory_demo/identity.json", "alpaca", "demonstration", 91, 0),
    ("torchtune_assets/stack_exchange_paired_tiny.json", "stack_exchange", "preference", 25, 0),
    ("torchtune_assets/alpaca_tiny.json", "alpaca", "demonstration", 100, 0),
    ("alpaca_eval/instructions.jsonl", "instructions", "prompt", 805, 0),
    ("alpaca_seed/seed_tasks.jsonl", "seed_tasks", "demonstration", 175, 0),
    ("self_instruct_eval/user_oriented_instructions.jsonl", "seed_tasks", "demonstration", 252, 0),
    ("self_instruct_eval/davinci-self-instruct_predictions.jsonl", "plain_answers", "demonstration", 252, 0),
    ("self_instruct_eval/text-davinci-001_predictions.jsonl", "plain_answers", "demonstration", 252, 0),
    ("self_instruct_eval/text-davinci-003_predictions.jsonl", "plain_answers", "demonstration", 252, 0),
    ("mt_bench/question.jsonl", "mt_bench", "prompt", 80, 0),
    ("mt_bench/vicuna_bench__question.jsonl", "mt_bench", "prompt", 80, 0),
    ("mt_bench/dummy_conversation.json", "sharegpt", "demonstration", 500, 0),
    ("ifeval/input_data.jsonl", "prompts", "prompt", 540, 0),
    ("gsm8k/train.jsonl", "question_answer", "demonstration", 7473, 0),
    ("countdown_posttrain/sft_train_2k.jsonl", "plain_answers", "demonstration", 2000, 0),
    ("countdown_posttrain/val_200.jsonl", "prompts", "prompt", 200, 0),
    ("countdown_posttrain/raw_train.parquet", "countdown", "prompt", 117_000, 0),
    ("d1_countdown/countdown_cd3_test.jsonl", "countdown_text", "prompt", 256, 0),
]


@pytest.mark.parametrize(("file", "layout", "kind", "count", "bad"), FILES)
def test_file_is_read(public_data: Path, file, layout, kind, count, bad):
    loaded = read(public_data / file, bad_rows="drop")
    assert (loaded.layout, loaded.kind) == (layout, kind)
    assert (len(loaded.examples), len(loaded.bad)) == (count, bad)
    assert len({example.id for example in loaded.examples}) == count


@pytest.mark.parametrize(
    "file",
    [
        "alpaca_eval/annotations.share.jsonl.gz",
        "alpaca_eval/model_outputs.share.jsonl.gz",
        "countdown_posttrain/metrics.jsonl",
        "llamafactory_demo/dataset_info.json",
        "mt_bench/gpt-4.jsonl",
        "mt_bench/judge_prompts.jsonl",
    ],
)
def test_other_files_are_refused_in_one_sentence(public_data: Path, file):
    with pytest.raises(UserError, match="which fit no known layout") as error:
        read(public_data / file)
    assert "\n" not in str(error.value)


def test_hh_bad_rows_are_the_empty_turns_and_the_pairs_that_part_early(public_data: Path):
    report = check_file(public_data / "hh_rlhf_harmless_test/share.jsonl.gz")
    assert [(bad.row, bad.field) for bad in report.bad] == [
        (396, "chosen"),
        (697, "chosen"),
        (834, "chosen"),
        (944, "rejected"),
        (1460, "rejected"),
        (1513, "rejected"),
    ]
    multi_turn = next(c for c in report.counts if c.label == "multi-turn")
    assert (multi_turn.count, multi_turn.total) == (1204, 1711)


def test_hh_answers_that_begin_with_a_speaker_name_are_kept_whole(public_data: Path):
    loaded = read(public_data / "hh_rlhf_harmless_test/share.jsonl.gz", bad_rows="drop")
    answers = [pair.chosen[0]["content"] for pair in loaded.examples if isinstance(pair, Preference)]
    assert sum("Human:" in answer for answer in answers) > 10
    assert all(len(pair.chosen) == len(pair.rejected) == 1 for pair in loaded.examples)


def test_ultrafeedback_counts(public_data: Path):
    report = check_file(public_data / "ultrafeedback_1000/train_clean.jsonl")
    counts = {c.label: (c.count, c.total) for c in report.counts}
    assert counts["identical answers"] == (4, 998)
    assert counts["equal scores"] == (111, 998)
    assert [(bad.row, bad.field) for bad in report.bad] == [(479, "rejected"), (834, "chosen")]


def test_unpaired_feedback_is_refused_as_pairs_and_halved_as_demonstrations(public_data: Path):
    path = public_data / "llamafactory_demo/kto_en_demo.json"
    with pytest.raises(UserError, match="not a preference pair"):
        read(path, kind="preference")
    loaded = read(path, kind="demonstration")
    assert (len(loaded.examples), loaded.left_out) == (150, 150)
    labeled = read(path, kind="labeled").examples
    assert [sum(example.label is good for example in labeled) for good in (True, False)] == [150, 150]


def test_countdown_rows_keep_their_problem(public_data: Path):
    example = read(public_data / "countdown_posttrain/sft_train_2k.jsonl").examples[0]
    assert example.id == "train-044123"
    assert example.meta["numbers"] == [70, 53, 49]
    assert example.meta["target"] == 66
