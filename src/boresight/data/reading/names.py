"""Column names in public data sets, by their meaning. Layouts search columns in this order.

The names are from the data cards of the most requested data sets; a name is included if it has one meaning.
"""

from __future__ import annotations

PROMPT = ("prompt", "query", "question", "problem")
"""Columns with the user's turn, as text."""

SOLUTION = "solution"
COMPLETION = ("completion", "response", SOLUTION)
"""Columns with the only answer of a demonstration.

Beside a chat prompt, `solution` is instead the reference answer for a verifier.
"""

GOLD = "answer"
"""Column with the reference answer for a verifier.

In a row without a completion, it is also the answer to imitate.
"""

ANSWER_PAIRS = (
    ("chosen", "rejected"),
    ("response_w", "response_l"),
    ("response_j", "response_k"),
    ("chosen_response", "rejected_response"),
)
"""Columns with the chosen and the rejected answer."""

MESSAGE_PAIRS = (("chosen_messages", "rejected_messages"),)
"""Columns with the chosen and the rejected conversation; their layout is `message_pairs`."""

SYSTEM = ("system", "system_prompt")
"""Columns with the system prompt of a conversation."""

CONVERSATION = ("messages", "conversations", "conversation")
"""Columns with all turns of a conversation."""

HISTORY = "history"
"""Column with the earlier rounds before a prompt, as pairs of texts or as messages."""

CONTEXT = ("context", "input", "passage", "document", "article", "background", HISTORY)
"""Columns whose text may belong to the prompt of the row."""

REFERENCE = ("ground_truth", "reward_model")
"""Columns with the reference answer for a verifier, in rows whose messages end with the user's turn."""

LABEL = ("label", "kto_tag", "desirable", "is_desirable", "is_good")
"""Columns that label the only answer of a row as good or bad."""

CORRECT = ("is_correct", "correct", "passed", "success", "resolved", "accepted")
"""Columns with the verdict of a verifier on the only answer of a row, at the top level or in `metadata`.

The column is a label only if its value is a spelling of a label, since `correct` may also be the reference
answer.
"""

GOOD = frozenset(["true", "1", "1.0", "good", "desirable", "positive", "yes", "chosen", "accepted", "like",
                  "correct", "right", "passed", "pass", "up", "thumbs_up",
                  "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar"])  # fmt: skip
BAD = frozenset(["false", "0", "0.0", "-1", "-1.0", "bad", "undesirable", "negative", "no", "rejected",
                 "dislike", "incorrect", "wrong", "failed", "fail", "down", "thumbs_down",
                 "falsch", "faux", "falso", "onwaar"])  # fmt: skip
"""Spellings of a good and a bad label, in lower case; those in other languages are from spreadsheets."""

METADATA = "metadata"
"""Column in which some data sets store scores and the verdicts of verifiers."""

NOT_GIVEN = frozenset(["", "n/a", "na", "none", "null"])
"""Texts that stand for a missing number, in lower case."""

SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_scores", "rejected_scores"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("reward_chosen", "reward_rejected"),
    ("chosen_reward", "rejected_reward"),
    ("chosen_rm_score", "rejected_rm_score"),
    ("chosen_avg_rating", "rejected_avg_rating"),
    ("score_w", "score_l"),
    ("score_j", "score_k"),
)
"""Columns with the scores of the chosen and the rejected answer; the first pair is the canonical one."""

COMPARED = (
    ("completion_a", "completion_b"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
)
"""Columns with two answers in any order; another column contains the preference."""

ANSWER_LISTS = ("answers", "completions", "responses", "generations", "response1", "response2",
                "response_0", "response_1", "response_2", "output_1", "output_2", "answer_0", "answer_1",
                "conversation_a", "conversation_b", "human_ref_A", "human_ref_B", "summaries",
                *(column for pair in COMPARED for column in pair))  # fmt: skip
"""Columns with answers that their names do not rank; a row with one of them is not a bare prompt."""

STEP_LABELS = ("labels", "label", "ratings")
"""Columns with a list of labels, one for each step of an answer."""
