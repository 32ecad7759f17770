"""A chat template is a program of a model's folder: it ends in time, within its memory, without secrets."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from boresight.core.errors import UserError
from boresight.data.rendering.sandbox import process
from boresight.data.rendering.sandbox.plain import only_joins
from boresight.data.rendering.sandbox.process import PROCESS, RenderingFailed, TemplateProcess
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.stop_tokens import end_of_turn
from tests.tiny import TEMPLATES, tiny_tokenizer
from tests.versions import is_older

MESSAGES = [{"role": "user", "content": "a question\ud800"}]
GUARDED = "{% set x = 1 %}{{ messages[0].content }}"
"""Harmless, but not by its parts."""
LIMITS = ("of processor time", "of memory", "characters", "Error: ", "sandbox")
HOSTILE = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a long range": "{{ range(10**9) | list | length }}",
    "a long string": "{{ ('a' * 10**11) | length }}",
    "a string that doubles": (
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
    ),
    "a list that doubles": (
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}"
    ),
    "a wide format": "{{ '{:10000000000}'.format(1) }}",
    "a wide percent format": "{{ '%10000000000d' % 1 }}",
    "a wide filter": "{{ 'a' | center(10**11) }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}"
    ),
    "a replacement by itself": "{% set x = 'a' * 99999 %}{{ x.replace('a', x).replace('a', x) }}",
    "a long result": "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
    "a quadratic filter": "{{ ('a ' * 10**7) | wordwrap(1) }}",
    "a power": "{{ (10 ** (10 ** 9)) % 7 }}",
    "deep parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "a loop over a recursive loop": "{% for m in [[[1]]] * 9**9 recursive %}{{ loop(m) }}{% endfor %}",
}


@pytest.fixture
def short(monkeypatch):
    """Limits that none of the templates keeps within, and that tests have time for."""
    monkeypatch.setattr(process, "SECONDS", 0.3)
    monkeypatch.setattr(process, "LONGEST", 10**6)


SLOW = {"a list that doubles", "a quadratic filter", "a power", "a long result", "a replacement by itself"}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.slow if what in SLOW else ()) for what in HOSTILE]
)
def test_every_template_ends(what, short):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = HOSTILE[what]
    assert not only_joins(HOSTILE[what])
    with pytest.raises(TemplateRefusal) as refused:
        render_messages(tokenizer, MESSAGES)
    assert any(limit in str(refused.value) for limit in LIMITS)
    assert PROCESS.render(GUARDED, MESSAGES, {}) == "a question\ud800"


def test_a_template_that_ran_over_is_not_tried_again(short):
    template = HOSTILE["loops in loops"] + "{# again #}"
    with pytest.raises(RenderingFailed, match=r"takes more than 0\.3 s of processor time"):
        PROCESS.render(template, MESSAGES, {})
    PROCESS.render(GUARDED, MESSAGES, {})
    before = PROCESS._process
    with pytest.raises(RenderingFailed, match=r"takes more than 0\.3 s of processor time"):
        PROCESS.render(template, MESSAGES, {})
    assert PROCESS._process is before and before.poll() is None


def test_the_sentence_names_the_setting(short):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = HOSTILE["loops in loops"]
    with pytest.raises(UserError, match=r"^model\.chat_template: .* takes more than 0\.3 s .*; set it to "):
        end_of_turn(tokenizer)


@pytest.mark.parametrize("family", [name for name, template in TEMPLATES.items() if template])
def test_both_ways_render_as_transformers_does(family):
    tokenizer = tiny_tokenizer(family)
    own = tokenizer.chat_template
    messages = [{"role": "user", "content": "q", "name": None}, {"role": "assistant", "content": "é\u2028🙂"}]
    expected = tokenizer.apply_chat_template(messages, tokenize=False)
    assert only_joins(own)
    assert render_messages(tokenizer, messages) == expected
    tokenizer.chat_template = "{% set other = 1 %}" + own
    assert not only_joins(tokenizer.chat_template)
    assert render_messages(tokenizer, messages) == expected


def test_values_that_are_no_json_are_as_inert_as_in_transformers():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% set other = 1 %}{{ messages[0].content }}{{ messages[0].at }}"
    messages = [{"role": "user", "content": "q", "at": b"bytes"}]
    assert (rendered := render_messages(tokenizer, messages)) == "q<bytes>"
    if not is_older("transformers", "5.23"):
        assert rendered == tokenizer.apply_chat_template(messages, tokenize=False)


LOOPS_IN_LOOPS = "{% for m in messages %}{% for n in messages %}{{ m }}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "template",
    [
        LOOPS_IN_LOOPS,
        "{% for m in messages | list %}{% endfor %}",
        "{% for m in messages recursive %}{% endfor %}",
        "{% filter center(9) %}{% endfilter %}",
        "{% generation %}{{ 'a' * 9 }}{% endgeneration %}",
        *("{{ 'a' * 9 }}", "{{ range(9) }}", "{{ 2 ** 9 }}", "{{ 'a'.join('b') }}", "{{ 'a' | center(9) }}"),
        *(
            "{% set x = 'a' %}",
            "{% macro m() %}{% endmacro %}",
            "{% call f() %}{% endcall %}",
            "{{ '%9d' % 1 }}",
        ),
        *("{% include 'x' %}", "{% broken", "x" * 20_001),
    ],
)
def test_what_may_grow_is_never_rendered_in_this_process(template):
    assert not only_joins(template)


def test_an_interrupted_rendering_leaves_no_reply_behind(monkeypatch):
    rendering = TemplateProcess()
    rendering.render(GUARDED, MESSAGES, {})

    class Interrupting:
        def readline(self):
            raise KeyboardInterrupt

        def close(self):
            pass

    monkeypatch.setattr(rendering._process, "stdout", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        rendering.render(GUARDED, [{"role": "user", "content": "the interrupted one"}], {})
    assert rendering.render(GUARDED, MESSAGES, {}) == "a question\ud800"
    rendering.stop()


def test_a_killed_process_is_replaced():
    rendering = TemplateProcess()
    rendering.render(GUARDED, MESSAGES, {})
    rendering._process.send_signal(signal.SIGKILL)
    rendering._process.wait()
    assert rendering.render(GUARDED, MESSAGES, {}) == "a question\ud800"
    assert rendering.stop() == -signal.SIGKILL and rendering.stop() is None


def test_threads_share_it():
    texts: dict[int, str] = {}

    def write(n):
        for _ in range(20):
            texts[n] = PROCESS.render(GUARDED, [{"role": "user", "content": str(n)}], {})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {n: str(n) for n in range(4)}


def test_the_process_has_no_keys_and_no_files_of_the_current_folder(monkeypatch, tmp_path):
    (tmp_path / "jinja2.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    rendering = TemplateProcess()
    assert rendering.render(GUARDED, MESSAGES, {}) == "a question\ud800"
    environment = Path(f"/proc/{rendering._process.pid}/environ")
    assert not environment.exists() or b"sk-secret" not in environment.read_bytes()
    rendering.stop()
