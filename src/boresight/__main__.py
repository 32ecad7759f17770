"""`python -m boresight`, which is also how torchrun starts it."""

import os
import sys

from boresight.cli.main import main


def run_module() -> None:
    """The command line. As one of several processes it ends without tearing the interpreter down: threads
    of gloo that are still there at that moment abort it, and a finished run would count as failed."""
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
