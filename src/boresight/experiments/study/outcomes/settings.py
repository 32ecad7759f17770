"""Collect all settings that results depend on; results with other settings are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boresight.experiments.study.blocks import Block
from boresight.experiments.study.plan import (
    ArmRun,
    StudyPlan,
    arm_recipe,
    arm_runs,
    block_judge_run,
    judge_run,
    start_run,
)


def resolved_settings(plan: StudyPlan, here: Path) -> dict[str, Any]:
    """Return all settings that the results of a study depend on: recipes, and how answers are generated."""
    made = {run.name: arm_recipe(plan, here, run).to_dict() for run in arm_runs(plan)}
    starts = {name: arm.starts_from for name, arm in plan.arms.items()}
    asked = plan.answers.model_dump(exclude={"shown", "groups"}) if plan.answers else None
    blocks = {name: block_settings(block) for name, block in plan.blocks.items()}
    return {"recipes": made, "starts_from": starts, "answers": asked} | ({"blocks": blocks} if blocks else {})


def outcome_settings(plan: StudyPlan, here: Path, run: ArmRun) -> dict[str, Any]:
    """Return all settings that the results of an arm of a block depend on, with those of its start model."""
    start = start_run(plan, run)
    settings = {"recipe": arm_recipe(plan, here, run).to_dict()}
    if start is not None:
        settings["start"] = outcome_settings(plan, here, start)
        settings["recipe"]["model"]["name"] = f"arm {start.name}"  # whatever the recipe itself names
    if (judge := judge_run(plan, run)) is not None:
        settings["judge"] = outcome_settings(plan, here, judge)
    block = plan.blocks.get(plan.arms[run.arm].block or "")
    return settings | (_settings_of_block(plan, here, block) if block is not None else {})


def start_settings(plan: StudyPlan, here: Path, name: str) -> dict[str, Any]:
    """Return all settings that the results of a block's start model depend on."""
    block = plan.blocks[name]
    settings = _settings_of_block(plan, here, block)
    if block.start in plan.arms:
        run = ArmRun(block.start, plan.arms[block.start].seeds[0])
        settings["start"] = outcome_settings(plan, here, run)
    return settings


def _settings_of_block(plan: StudyPlan, here: Path, block: Block) -> dict[str, Any]:
    judge = block_judge_run(plan, block)
    settings = {"block": block_settings(block)}
    return settings | ({"block_judge": outcome_settings(plan, here, judge)} if judge is not None else {})


def block_settings(block: Block) -> dict[str, Any]:
    """Return the settings of a block that results depend on."""
    return block.model_dump(mode="json", exclude={"title"})
