"""The theorem with real kills: a run that is killed with -9 at any instant, and goes on, was never killed.

`test_kill_writes.py` kills at every write, these kills fall anywhere.
"""

from pathlib import Path

import pytest

from boresight import methods
from tests.training.killed import LORA, assert_same_run, make_base, run_jobs, small_recipe

SCRIPT = Path(__file__).with_name("kill_runs.py")
ALL = [(name, lora) for name in methods.names() for lora in (None, LORA)]
KILLS = -(-50 // len(ALL))


@pytest.mark.nightly
def test_fifty_kills(tmp_path_factory, tmp_path):
    base = make_base(tmp_path_factory.mktemp("base"))
    jobs = [
        {
            "recipe": small_recipe(base, *case, save_every=1),
            "home": str(tmp_path / str(i)),
            "kills": KILLS,
            "seed": i,
        }
        for i, case in enumerate(ALL)
    ]
    met = run_jobs(SCRIPT, jobs, tmp_path)
    print(f"\nsteps logged at the kills: {[[steps for _, steps in one] for one in met]}")
    assert [len(one) for one in met] == [KILLS] * len(ALL)
    for job in jobs:
        cuts = sorted(Path(job["home"]).glob("cut-*"))
        assert cuts
        for cut in cuts:
            if (cut / "evaluation.json").is_file():
                assert_same_run(Path(job["home"]) / "whole", cut)
