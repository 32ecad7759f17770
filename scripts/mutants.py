"""Change the numeric modules one operator or number at a time, and list the changes that no test notices.

    python scripts/mutants.py                                all mutants of all modules
    python scripts/mutants.py --sample 150 --seed 1          some of them
    python scripts/mutants.py src/boresight/stats/length.py  all mutants of a module
    python scripts/mutants.py src/boresight/stats/length.py:80  those of a line

A mutant is killed if a test of its module fails or takes too long, and survives otherwise. Some survivors are
equivalent to the code: `<=` for `<` between real numbers, or one more step of a loop that has converged. Each
mutant runs in a process forked from one that has imported the libraries of its tests, so it costs what these
cost. `make mutants` runs all of them, which takes about an hour.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gc
import importlib.util
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

TESTS: dict[str, tuple[str, ...]] = {
    "src/boresight/stats": ("tests/stats/test_{}.py",),
    "src/boresight/methods": ("tests/methods/test_{}.py", "tests/methods"),
    "src/boresight/findings": ("tests/findings/test_{}.py",),
    "src/boresight/checks/forecast": (
        "tests/checks/test_{}.py",
        "tests/checks/test_forecast.py",
        "tests/checks/test_expected_loss.py",
    ),
    "src/boresight/llm/rate_limits.py": ("tests/llm/test_rate_limits.py",),
    "src/boresight/training/metrics.py": ("tests/training/test_metrics.py",),
    "src/boresight/training/checkpoints/best.py": ("tests/training/test_best.py",),
    "src/boresight/experiments/sweep/prune.py": ("tests/experiments/sweep/test_prune.py",),
}
"""Folders and modules that are changed, and their tests in order; `{}` is the name of the module."""

DATA = {"published.py"}
"""Files of numbers that others have published: nothing is computed there."""

OURS = ("boresight", "tests", "conftest", "__main__")
"""Packages that every fork imports anew."""

SLOWEST = 5.0
"""A mutant may take this many times as long as the tests take without it, and 20 s more."""

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}


@dataclass(frozen=True)
class Mutant:
    """One change: the number of the node in the order of `ast.walk`, and which of its changes."""

    module: Path
    node: int
    change: int
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.module.relative_to(ROOT)}:{self.line}"

    def code(self) -> CodeType:
        tree = ast.parse(self.module.read_text("utf-8"))
        node = list(ast.walk(tree))[self.node]
        list(changes(node))[self.change][1](node)
        return compile(ast.fix_missing_locations(tree), self.module, "exec")


def changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """What may be changed about a node: in words, and a function that changes it in place."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield "comparison", lambda n: setattr(n, "ops", [COMPARISONS[type(n.ops[0])]()])
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield "operator", lambda n: setattr(n, "op", OPERATORS[type(n.op)]())
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield (
                "sign or not",
                lambda n: setattr(n, "op", ast.UAdd() if isinstance(n.op, ast.USub) else _truth(n)),
            )
        case ast.BoolOp():
            yield "and/or", lambda n: setattr(n, "op", ast.Or() if isinstance(n.op, ast.And) else ast.And())
        case ast.IfExp() | ast.If():
            yield "condition", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            yield (
                "number",
                lambda n: setattr(
                    n, "value", n.value + 1 if isinstance(n.value, int) else n.value * 1.5 or 0.5
                ),
            )
        case ast.Constant(value=bool()):
            yield "truth", lambda n: setattr(n, "value", not n.value)
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield "call", lambda n: setattr(n.func, "id", CALLS[n.func.id])


def _truth(node: ast.UnaryOp) -> ast.unaryop:
    """`not x` becomes `not not x`."""
    node.operand = ast.UnaryOp(ast.Not(), node.operand)
    return ast.Not()


def mutants_of(module: Path) -> Iterator[Mutant]:
    """Every mutant of a module. Messages, annotations, decorators and `strict=` are left as they are."""
    source = module.read_text("utf-8").splitlines()
    tree = ast.parse("\n".join(source))
    words = {id(inner) for node in ast.walk(tree) for left in _left_alone(node) for inner in ast.walk(left)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in words:
            continue
        for change, (kind, apply) in enumerate(changes(node)):
            after = copy.deepcopy(node)
            apply(after)
            ast.fix_missing_locations(after)
            line = getattr(node, "lineno", 0)
            shown = [ast.unparse(n.test if isinstance(n, ast.If) else n) for n in (node, after)]
            yield Mutant(
                module,
                number,
                change,
                line,
                f"{kind}: {shown[0]} -> {shown[1]}  in  {source[line - 1].strip()}",
            )


def _left_alone(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Assert():
            yield node
        case ast.arg(annotation=note) | ast.AnnAssign(annotation=note) if note is not None:
            yield note
        case ast.FunctionDef(returns=note, decorator_list=decorators):
            yield from [*decorators, *([note] if note is not None else [])]
        case ast.ClassDef(decorator_list=decorators):
            yield from decorators
        case ast.keyword(arg="strict"):
            yield node
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            yield node


class Changed(SourceFileLoader):
    """Loads a module from changed code."""

    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def run_tests(
    tests: tuple[str, ...], mutant: Mutant | None, limit: float, imported: Path | None = None
) -> tuple[str, float]:
    """`killed`, `survived` or `too slow`, and the seconds it took; None runs the code as it is.

    With `imported`, the names of the libraries' modules that the tests import are written there.
    """
    started, child = time.monotonic(), os.fork()
    if not child:
        _in_child(tests, mutant, imported)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        seconds = time.monotonic() - started
        if pid:
            return ("survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"), seconds
        if seconds > limit:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return "too slow", seconds
        time.sleep(0.02)


def _in_child(tests: tuple[str, ...], mutant: Mutant | None, imported: Path | None) -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    if mutant is not None:
        name = ".".join(mutant.module.relative_to(SOURCE).with_suffix("").parts)
        loader = Changed(name, str(mutant.module))
        try:
            loader.code = mutant.code()
        except SyntaxError:
            os._exit(1)

        class Finder:
            @staticmethod
            def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
                return importlib.util.spec_from_loader(name, loader) if fullname == name else None

        sys.meta_path.insert(0, Finder)
    import pytest

    failed = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]))
    if imported is not None:
        imported.write_text("\n".join(name for name in sys.modules if name.split(".")[0] not in OURS))
    os._exit(failed)


def import_libraries(tests: tuple[str, ...]) -> None:
    """Import here what the tests import from elsewhere, so that no fork has to. Ends where they fail."""
    with tempfile.TemporaryDirectory() as folder:
        imported = Path(folder) / "imported"
        if run_tests(tests, None, 600, imported)[0] != "survived":
            sys.exit(f"the tests fail without any change: pytest {' '.join(tests)}")
        for name in imported.read_text().splitlines():
            with contextlib.suppress(Exception):  # a few refuse to be imported alone; their fork imports them
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or a collection in the fork would copy every page


def modules(asked: list[str]) -> dict[Path, tuple[str, ...]]:
    """Modules to change with their tests; those asked for, or all."""
    found = {
        file: tuple(path for test in tests if (ROOT / (path := test.format(file.stem))).exists())
        for place, tests in TESTS.items()
        for file in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("[!_]*.py")))
        if file.name not in DATA
    }
    wanted = {ROOT / name.partition(":")[0] for name in asked}
    if unknown := wanted - found.keys():
        sys.exit(f"no tests are named for {', '.join(map(str, unknown))}; add it to TESTS")
    return {file: tests for file, tests in found.items() if not wanted or file in wanted}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("modules", nargs="*", help="modules to change, with :LINE for one line; all if none")
    options.add_argument("--sample", type=int, help="how many mutants to run; all if left out")
    options.add_argument("--seed", type=int, default=0, help="chooses the sample")
    asked = options.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(SOURCE), str(ROOT)]
    targets = modules(asked.modules)
    lines = {tuple(name.rsplit(":", 1)) for name in asked.modules if ":" in name}
    chosen = [m for file in targets for m in mutants_of(file)]
    if lines:
        chosen = [m for m in chosen if (str(m.module.relative_to(ROOT)), str(m.line)) in lines]
    if asked.sample is not None and asked.sample < len(chosen):
        chosen = sorted(
            random.Random(asked.seed).sample(chosen, asked.sample), key=lambda m: (m.place, m.node)
        )
    limits = {}
    for tests in {targets[m.module] for m in chosen}:
        import_libraries(tests)
        limits[tests] = SLOWEST * run_tests(tests, None, 600)[1] + 20
    killed = 0
    for number, mutant in enumerate(chosen, start=1):
        tests = targets[mutant.module]
        outcome, seconds = run_tests(tests, mutant, limits[tests])
        killed += outcome != "survived"
        print(
            f"{number}/{len(chosen)} {outcome:8} {seconds:5.1f} s  {mutant.place}  {mutant.text}", flush=True
        )
    print(f"killed {killed} of {len(chosen)}")


if __name__ == "__main__":
    main()
