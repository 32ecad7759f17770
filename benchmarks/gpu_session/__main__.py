"""Run the sections of a plan, most valuable first, and write what they gave.

    python -m gpu_session measurements --out FOLDER [--tiny]    # 8 minutes at most
    python -m gpu_session runs --out FOLDER [--tiny]            # 4 minutes at most

FOLDER then holds `results.jsonl` (one object per section), `summary.txt` and `log.txt` (all that was
printed). The three are written after every section, so that they are there when the session is cut off. The
exit status is 0 if every section ran to its end, 1 if one failed, 2 if nothing was run.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from gpu_session.plans import PLANS, Place
from gpu_session.running import FILES, Session, write_summary


def main() -> None:
    args = arguments()
    refuse(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("gpu_session: stopped"))  # ends the running section too
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        place = Place(Path(work), args.kit.resolve(), args.device, args.tiny)
        plan = PLANS[args.plan]
        session = Session(args.out, place.work, plan.seconds, args.patience)
        for index, section in enumerate(sections := plan.sections(place)):
            session.run(section, later=sum(s.limit for s in sections[index + 1 :]))
            write_summary(args.out, args.plan)
    print((args.out / "summary.txt").read_text())
    sys.exit(session.failed)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_session", description=__doc__.splitlines()[0])
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("--out", type=Path, required=True, help="folder for results, summary and log")
    parser.add_argument("--kit", type=Path, default=Path("build/gpu-kit"), help="what `make gpu-kit` wrote")
    parser.add_argument(
        "--tiny", action="store_true", help="every section in small, on the CPU: a rehearsal, no measurement"
    )
    args = parser.parse_args()
    args.device, args.patience = ("cpu", 40) if args.tiny else ("cuda", 1)
    return args


def refuse(args: argparse.Namespace) -> None:
    """End with a sentence and status 2 where nothing could be measured or results would be mixed."""
    why = None
    if args.device == "cuda" and not has_cuda():
        why = "torch sees no CUDA device here; --tiny rehearses every section on the CPU."
    elif not (args.kit / "starter" / "tokenizer.json").is_file():
        why = (
            f"--kit: {args.kit} holds no starter/tokenizer.json; run `make gpu-kit` where there is a network."
        )
    elif any((args.out / name).exists() for name in FILES):
        why = f"--out: {args.out} holds the results of another session; name another folder."
    if why:
        print(why, file=sys.stderr)
        sys.exit(2)


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
