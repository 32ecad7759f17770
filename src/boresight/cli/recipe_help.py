"""Every field of a recipe, printed under `boresight train --help`."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boresight import methods
from boresight.config import recipe
from boresight.config.lora import LoraConfig
from boresight.config.section import fields


def print_fields(console: Console | None = None) -> None:
    """Print the recipe's fields and each method's own settings."""
    console = console or Console()
    console.print("\n[bold]Recipe fields[/bold] (set in the YAML file or as field=value)")
    rows = [row for row in fields(recipe.Recipe) if row[0] != "method"]
    console.print(_table(rows))
    for name in methods.names():
        settings = fields(methods.get(name).Config, "method.")
        console.print(f"\n[bold]method.name: {name}[/bold]" + ("" if settings else "  (no settings)"))
        if settings:
            console.print(_table(settings))
    console.print("\n[bold]model.lora[/bold]")
    console.print(_table(fields(LoraConfig, "model.lora.")))


def print_evaluation_fields(console: Console | None = None) -> None:
    """Print the fields of an evaluation's recipe and each judge's own settings."""
    from boresight.evaluation.recipe import CountdownSection, SystemSection, WinRateRecipe
    from boresight.scorers import judges

    console = console or Console()
    console.print("\n[bold]Recipe fields[/bold] (set in the YAML file or as field=value)")
    rows = [row for row in fields(WinRateRecipe) if row[0] not in ("judge", "systems")]
    console.print(_table(rows + fields(SystemSection, "systems.NAME.")))
    console.print("\n[bold]countdown[/bold] (in place of judge: how many problems are solved)")
    console.print(_table(fields(CountdownSection, "countdown.")))
    for name in judges.names():
        console.print(f"\n[bold]judge.name: {name}[/bold]")
        console.print(_table(fields(judges.get(name).Config, "judge.")))


def print_sweep_fields(console: Console | None = None) -> None:
    """Print the fields of a sweep's recipe."""
    from boresight.experiments.sweep.recipe import PruneSection, SweepRecipe
    from boresight.experiments.sweep.space import Range

    console = console or Console()
    console.print(
        "\n[bold]Sweep fields[/bold] (set in the YAML file or as field=value; others go to the recipe)"
    )
    rows = [row for row in fields(SweepRecipe) if row[0] != "prune"]
    rows += fields(PruneSection, "prune.") + fields(Range, "space.KEY.")
    console.print(_table(rows))


def _table(rows: list[tuple[str, str, str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, kind, default, doc in rows:
        default = "required" if default == "required" else f"default {default}"
        table.add_row(name, f"{escape(doc)} [dim]({escape(kind)}; {escape(default)})[/dim]")
    return table
