"""A worker process of a sweep.

python -m boresight.experiments.sweep.worker FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from boresight.core.console import Terminal
from boresight.experiments.engine.worker import serve
from boresight.experiments.sweep.storage import join
from boresight.experiments.sweep.trials import SweepTrials


def work_in(folder: Path) -> NoReturn:
    """Run trials of the sweep in `folder` until none is open, then exit."""
    serve(lambda: SweepTrials(join(folder), Terminal(soft_wrap=True)))


if __name__ == "__main__":
    work_in(Path(sys.argv[1]))
