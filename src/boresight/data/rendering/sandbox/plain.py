"""Recognize templates that only concatenate parts of the messages, so that their run time is bounded.

Such a template is rendered in this process. Any other template is a program that may not terminate or may
exhaust the memory, and is rendered in a separate process (`process`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

JOINING = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Scope, nodes.CondExpr, nodes.Const),
    *(nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Add, nodes.Concat, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Test, nodes.Slice),
)
"""Types of template nodes whose time and output grow at most linearly with the template and its input."""
FILTERS, FUNCTIONS = {"trim"}, {"raise_exception"}
LONGEST = 20_000
"""Maximum length of a template that may be rendered in this process, in characters."""


class Generation(Extension):
    """Jinja extension that parses `{% generation %}` as its body.

    transformers marks the assistant's text with this tag.
    """

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the body of the tag as a scope."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


@lru_cache(maxsize=64)
def only_joins(template: str) -> bool:
    """Return whether a template only concatenates parts of the messages, with loops that are not nested."""
    if len(template) > LONGEST:
        return False
    try:
        tree = ImmutableSandboxedEnvironment(extensions=[Generation]).parse(template)
        return all(_joins(node, inside) for node, inside in _with_loops(tree, 0))
    except (TemplateError, RecursionError):
        return False


def _with_loops(node: nodes.Node, loops: int) -> Iterator[tuple[nodes.Node, int]]:
    """Yield every node with the number of loops around it."""
    yield node, loops
    for child in node.iter_child_nodes():
        yield from _with_loops(child, loops + isinstance(node, nodes.For))


def _joins(node: nodes.Node, loops: int) -> bool:
    if isinstance(node, nodes.For):
        return loops == 0 and not node.recursive and isinstance(node.iter, nodes.Name)
    if isinstance(node, nodes.Filter):
        return node.name in FILTERS
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Name) and node.node.name in FUNCTIONS
    return isinstance(node, JOINING)
