"""Settings suggested by Optuna, through its ask-and-tell interface.

Optuna's study is a journal file in the sweep's folder, which several workers and machines may write, and
which optuna-dashboard reads. The outcomes in the sweep's folder are authoritative: results that the journal
lacks, because a worker was killed, are added before the next setting is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boresight.core.errors import UserError
from boresight.core.plugins import is_installed
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.space import Range, SweepSetting
from boresight.experiments.sweep.storage import Sweep

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

NUMBER = "setting"
"""User attribute of an Optuna trial that holds the number of its setting."""


def require_optuna(recipe: SweepRecipe) -> None:
    """Raise a `UserError` if the search needs Optuna and it is not installed."""
    if recipe.search == "optuna" and not is_installed("optuna"):
        raise UserError("search: optuna is not installed; pip install 'boresight[sweep]', or use a grid.")


def draw_setting(sweep: Sweep, number: int) -> SweepSetting:
    """Return the setting with this number: the stored one, or else a new suggestion, which is then stored."""
    kept = sweep.setting(number)
    if kept is not None:
        return kept
    study = _study(sweep, number)
    _add_results(study, sweep)
    asked = study.ask(_distributions(sweep.recipe))
    drawn = sweep.keep_setting(number, asked.params)
    if drawn == asked.params:
        asked.set_user_attr(NUMBER, number)
    return drawn


def _study(sweep: Sweep, number: int) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = sweep.recipe.seed * 10_000 + number  # a new sampler must not repeat the draws of the last one
    if sweep.recipe.sampler == "tpe":
        startup = min(10, max(2, sweep.recipe.count // 3))
        sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, constant_liar=True
        )
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    return optuna.create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(sweep.folder / "optuna.journal"))),
        sampler=sampler,
        direction="maximize" if sweep.recipe.better == "higher" else "minimize",
        load_if_exists=True,
    )


def _add_results(study: optuna.Study, sweep: Sweep) -> None:
    """Add the results that the journal lacks. A setting with a seed without a value counts as failed."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if NUMBER not in trial.user_attrs:
            continue  # its worker died before the setting was stored
        number = trial.user_attrs[NUMBER]
        outcomes = [sweep.outcome(trial) for trial in sweep.trials_of(number)]
        ended = [outcome for outcome in outcomes if outcome]
        if len(ended) < len(outcomes):
            continue
        values = [outcome.value for outcome in ended if outcome.value is not None]
        if len(values) == len(ended):
            study.tell(trial.number, sum(values) / len(values), skip_if_finished=True)
        else:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _distributions(recipe: SweepRecipe) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def one(values: list[Any] | Range) -> BaseDistribution:
        if isinstance(values, list):
            return CategoricalDistribution(values)
        if values.integer:
            return IntDistribution(int(values.low), int(values.high), log=values.log)
        return FloatDistribution(values.low, values.high, log=values.log)

    return {key: one(values) for key, values in recipe.space.items()}
