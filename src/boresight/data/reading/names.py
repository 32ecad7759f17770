"""Column names in public data sets, by their meaning. Layouts look columns up here, in this order.

Sources are the data cards of the sets that readers ask for most; a name is included if it has one meaning.
"""

from __future__ import annotations

PROMPT = ("prompt", "query", "question", "problem")
"""Columns with the user's turn, as text."""

SOLUTION = "solution"
COMPLETION = ("completion", "response", SOLUTION)
"""The one answer of a demonstration. Beside a chat prompt, `solution` is the reference answer for a
verifier."""

GOLD = "answer"
"""Column with the reference answer for a verifier; in a row without a completion it is also the answer to
imitate."""

ANSWER_PAIRS = (
    ("chosen", "rejected"),
    ("response_w", "response_l"),
    ("response_j", "response_k"),
    ("chosen_response", "rejected_response"),
)
"""Columns with the better and the worse answer."""

MESSAGE_PAIRS = (("chosen_messages", "rejected_messages"),)
"""The same pairs as whole conversations; they have layouts of their own."""

SYSTEM = ("system", "system_prompt")
"""The system prompt beside a conversation."""

CONVERSATION = ("messages", "conversations", "conversation")
"""All turns of a conversation."""

HISTORY = "history"
"""Earlier rounds beside a prompt in text, as pairs of texts or as messages."""

CONTEXT = ("context", "input", "passage", "document", "article", "background", HISTORY)
"""Columns whose text may belong to the prompt beside them."""

REFERENCE = ("ground_truth", "reward_model")
"""Columns with what a verifier compares with, beside messages that end with the user's turn."""

LABEL = ("label", "kto_tag", "desirable", "is_desirable", "is_good")
"""Whether the one answer of a row is good."""

CORRECT = ("is_correct", "correct", "passed", "success", "resolved", "accepted")
"""Whether a verifier accepted the one answer of a row, at the top or in `metadata`; a label only where the
value is a spelling of one, since `correct` may also be the reference answer."""

GOOD = frozenset(["true", "1", "1.0", "good", "desirable", "positive", "yes", "chosen", "accepted", "like",
                  "correct", "right", "passed", "pass", "up", "thumbs_up",
                  "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar"])  # fmt: skip
BAD = frozenset(["false", "0", "0.0", "-1", "-1.0", "bad", "undesirable", "negative", "no", "rejected",
                 "dislike", "incorrect", "wrong", "failed", "fail", "down", "thumbs_down",
                 "falsch", "faux", "falso", "onwaar"])  # fmt: skip
"""Spellings of a label, in small letters; the last are those of spreadsheets in other languages."""

METADATA = "metadata"
"""Column in which some sets keep scores and the verdicts of verifiers."""

NOT_GIVEN = frozenset(["", "n/a", "na", "none", "null"])
"""Text for a number that is missing, in small letters."""

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
"""The score of the better answer and of the worse one; the first pair is the canonical one."""

COMPARED = (
    ("completion_a", "completion_b"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
)
"""Two answers in any order; the preference is in another column."""

ANSWER_LISTS = ("answers", "completions", "responses", "generations", "response1", "response2",
                "response_0", "response_1", "response_2", "output_1", "output_2", "answer_0", "answer_1",
                "conversation_a", "conversation_b", "human_ref_A", "human_ref_B", "summaries",
                *(column for pair in COMPARED for column in pair))  # fmt: skip
"""Several answers, whose names do not rank them; a row with them is no bare prompt."""

STEP_LABELS = ("labels", "label", "ratings")
"""Labels of the single steps of an answer, as a list."""
