"""With `--quiet`, new terminals show warnings alone, on standard error."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from boresight.core.console import Terminal, print_warning, progress, showing_only_warnings, warning_console
from boresight.findings.finding import note, warning
from boresight.findings.printing import print_findings
from boresight.training.logging.logger import Tracker
from tests.versions import is_older


def test_warnings_go_to_stderr_and_the_rest_nowhere(capsys):
    with showing_only_warnings():
        console = Terminal(soft_wrap=True)
        console.print("reading")
        print_warning(console, warning := "[b]12 of 40 rows " + "are cut " * 20)
        with progress(Terminal(stderr=True), "reading", 2) as advance:
            advance(2)
    out, err = capsys.readouterr()
    if is_older("rich", "14.3"):
        warning = warning.rstrip()
    assert out == "" and err == warning + "\n"


def test_without_it_a_warning_is_a_line_among_the_others(capsys):
    console = Terminal()
    console.print("reading")
    print_warning(console, "2 rows are cut")
    assert capsys.readouterr() == ("reading\n2 rows are cut\n", "")


def test_afterwards_terminals_show_everything_again(capsys):
    with pytest.raises(RuntimeError), showing_only_warnings():
        raise RuntimeError
    Terminal().print("reading")
    assert capsys.readouterr().out == "reading\n"


def test_a_quiet_console_shows_no_warning_either(capsys):
    """Of a rehearsal, or of a process beside the first."""
    print_warning(Terminal(quiet=True), "2 rows are cut")
    with showing_only_warnings():
        print_warning(Terminal(quiet=True), "2 rows are cut")
        print_warning(Console(quiet=True), "2 rows are cut")
    assert capsys.readouterr() == ("", "")


def test_a_console_with_a_file_shows_everything():
    """As the output of a job, which goes into its folder."""
    with showing_only_warnings():
        console = Terminal(file=io.StringIO())
        console.print("reading")
        assert warning_console(console) is console
    assert console.file.getvalue() == "reading\n"


def test_findings_are_warnings_but_for_notes(capsys):
    found = [warning("few-rows", "Ten rows.", "Add some."), note("slow", "An hour.", "Wait.")]
    with showing_only_warnings():
        print_findings(found, Terminal())
        print_findings(found[1:], Terminal())
    out, err = capsys.readouterr()
    assert out == "" and err.count("few-rows") == 2 and "slow" not in err  # its name, and in its link


def test_the_status_line_is_left_out_and_warnings_of_the_run_are_not(capsys, tmp_path):
    with showing_only_warnings(), Tracker(tmp_path, 1, Terminal(), ("loss",)) as tracker:
        tracker.log(1, "train", {"loss": 0.5, "tokens_per_second": 9.0})
        tracker.log(1, "eval", {"loss": 0.5})
        tracker.say("best after step 1")
        tracker.say("2 rewards failed", "yellow")
    assert capsys.readouterr() == ("", "2 rewards failed\n")
