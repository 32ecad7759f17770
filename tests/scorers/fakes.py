"""Judges and endpoints whose every word is known."""

from boresight.core.schema import Prompt
from boresight.llm.replies.reply import failed
from boresight.scorers.judges.base import Score, Scorer


def prompt(number):
    return Prompt([{"role": "user", "content": f"question {number}"}], f"p{number}")


class LengthScorer(Scorer):
    """Longer is better; counts the answers it scored."""

    name = "length"
    scored = 0

    def score(self, prompts, answers, repeat=0):
        self.scored += len(answers)
        return [Score(float(len(text)), f"{len(text)} characters") for text in answers]


class FakeEndpoint:
    """Replies by a function of the request; times out where a word of `fails` is in a message."""

    def __init__(self, answer, fails=()):
        self.answer, self.fails, self.requests = answer, fails, []

    def complete(self, requests, read=None):
        self.requests += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request):
        text = " ".join(m["content"] for m in request.messages)
        return (
            failed("timeout", "request timed out after 60 s")
            if any(word in text for word in self.fails)
            else self.answer(request)
        )
