"""`python -m boresight`, which is also how torchrun starts it."""

import os
import sys

from boresight.cli.main import main


def run_module() -> None:
    """Run the command line and exit with its code.

    In one of several processes, exit by `os._exit`: a shutdown of the interpreter is aborted if threads of
    gloo are still alive, and a finished run would count as failed.
    """
    try:
        main()
    except SystemExit as end:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    run_module()
