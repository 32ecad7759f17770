"""XPO and its summed IPO form against TRL 1.13.0, the last version that had an XPO trainer.

    .venv-bench/bin/pip install --no-deps --target .venv-bench113 trl==1.13.0

Its loss is a pure function of log-probabilities; a process of its own imports it from that folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from boresight.methods import ipo, xpo
from boresight.methods.inputs import OnlinePairLogps

FOLDER = Path(__file__).parents[2] / ".venv-bench113"
pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not FOLDER.is_dir(), reason=f"pip install --no-deps --target {FOLDER.name} trl==1.13.0"
    ),
]

THEIRS = """
import json, sys
from types import SimpleNamespace
import torch, trl
from trl.experimental.xpo.xpo_trainer import XPOTrainer
assert trl.__version__ == "1.13.0", trl.__version__
given = json.load(sys.stdin)
logps = [torch.tensor(rows, requires_grad=i < 2) for i, rows in enumerate(given["logps"])]
args = SimpleNamespace(loss_type=given["loss_type"])
me = SimpleNamespace(beta=given["beta"], alpha=given["alpha"], args=args)
loss, preference, bonus = XPOTrainer._compute_losses(me, *logps, torch.tensor(given["policy_won"]))
loss.backward()
print(json.dumps({"loss": loss.item(), "per_pair": (preference + bonus).tolist(),
                  "gradient": [x.grad[:, 0].tolist() for x in logps[:2]]}))
"""


@pytest.fixture(scope="module")
def tokens():
    """Per-token log-probabilities `(pairs, length)`: policy on its own sample, policy on the reference's,
    reference on the reference's, reference on the policy's; and who won."""
    torch.manual_seed(0)
    own, other = -2.5 * torch.rand(7, 12), -2.5 * torch.rand(7, 9)
    return (own, other, other + torch.randn(7, 9), own + torch.randn(7, 12)), torch.rand(7) < 0.5


def ask_trl(tokens, **options):
    logps, policy_won = tokens
    given = {"logps": [x.tolist() for x in logps], "policy_won": policy_won.tolist(), **options}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THEIRS],
        input=json.dumps(given), capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(FOLDER), "TRL_EXPERIMENTAL_SILENCE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def inputs(tokens):
    (policy_own, policy_other, ref_other, ref_own), policy_won = tokens
    own, other = policy_own.sum(1).requires_grad_(), policy_other.sum(1).requires_grad_()

    def label(mine, theirs):
        return torch.where(policy_won, mine, theirs), torch.where(policy_won, theirs, mine)

    lengths = torch.full_like(own, 12.0), torch.full_like(own, 9.0)
    x = OnlinePairLogps(
        *label(own, other),
        *label(ref_own.sum(1), ref_other.sum(1)),
        *label(*lengths),
        chosen_from_ref=~policy_won,
    )
    return own, other, x


@pytest.mark.parametrize(("alpha", "beta"), [(1e-5, 0.1), (0.02, 0.5), (0.1, 1.0)])
def test_loss_and_gradient(tokens, alpha, beta):
    theirs = ask_trl(tokens, alpha=alpha, beta=beta, loss_type="sigmoid")
    own, other, x = inputs(tokens)
    out = xpo.loss(x, xpo.Config(alpha=alpha, beta=beta, allow_large_alpha=True))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(theirs["loss"], rel=1e-5, abs=1e-5)
    assert out.per_example.tolist() == pytest.approx(theirs["per_pair"], rel=1e-5, abs=1e-5)
    assert own.grad.tolist() == pytest.approx(theirs["gradient"][0], rel=1e-5, abs=1e-7)
    assert other.grad.tolist() == pytest.approx(theirs["gradient"][1], rel=1e-5, abs=1e-7)


def test_its_ipo_sums_as_ours_does(tokens):
    theirs = ask_trl(tokens, alpha=0.0, beta=0.25, loss_type="ipo")
    _, _, x = inputs(tokens)
    assert ipo.loss(x, ipo.Config(tau=0.25)).loss.item() == pytest.approx(theirs["loss"], rel=1e-5)
