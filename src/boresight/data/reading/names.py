"""The column names that public data sets use, by what they hold. Layouts look columns up here, in this order.

Sources are the data cards of the sets that readers ask for most; a name goes in where it means one thing.
"""

from __future__ import annotations

PROMPT = ("prompt", "query", "question", "problem")
"""What the user says, as text."""

COMPLETION = ("completion", "response", "solution")
"""The one answer of a demonstration."""

GOLD = "answer"
"""What a verifier compares an answer with; of a row without a completion, the answer to imitate as well."""

ANSWER_PAIRS = (
    ("chosen", "rejected"),
    ("response_w", "response_l"),
    ("response_j", "response_k"),
    ("chosen_response", "rejected_response"),
)
"""The better answer and the worse one."""

MESSAGE_PAIRS = (("chosen_messages", "rejected_messages"),)
"""The same as whole conversations, in layouts of their own."""

SYSTEM = ("system", "system_prompt")
"""The system prompt beside a conversation."""

CONVERSATION = ("messages", "conversations")
"""All turns of a conversation."""
