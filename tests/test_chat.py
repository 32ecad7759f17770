"""Talking to a run: what is said, what is forgotten, and what the start model says to the same thing."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from boresight.cli import chat
from boresight.cli.chat import Conversation, Settings, Talker, Unrolled, _out
from boresight.core.errors import UserError
from boresight.data.stop_tokens import stop_token_ids, wire_stop_tokens
from boresight.models.load import load_model
from boresight.models.sampler import stream as streaming
from boresight.models.sampler.generate import generate
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.models.sampler.stream import stream
from tests.export.conftest import trained  # noqa: F401
from tests.tiny import tiny_model, tiny_tokenizer

LORA = {"r": 4, "dropout": 0.0, "targets": "all-linear"}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_stream_draws_what_sample_draws(monkeypatch, cached, temperature):
    model = tiny_model()
    monkeypatch.setattr("boresight.models.sampler.stream.samples_with_cache", lambda *_: cached)
    params = SamplingParams(max_new_tokens=12, seed=3, temperature=temperature)
    prompt = np.array([5, 9, 80], np.int32)
    heard = []
    drawn = stream(model, prompt, params, lambda ids: heard.append(list(ids)))
    expected = sample(model, [prompt], params)[0][0]
    assert drawn.ids.tolist() == expected.ids.tolist() and drawn.finish == expected.finish
    assert heard == [drawn.ids.tolist()[: len(ids)] for ids in heard]
    assert len(heard) >= 11 and heard[-1] == drawn.ids.tolist()


def test_an_interrupted_stream_leaves_the_model_as_it_was():
    model = tiny_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def stop(ids):
        if len(ids) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(model, np.array([5, 9]), SamplingParams(max_new_tokens=9, seed=0), stop)
    assert model.training and not torch.is_inference_mode_enabled()
    assert model.config._attn_implementation == tiny_model().config._attn_implementation
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_character_of_several_tokens_is_said_once_it_is_whole():
    """The euro sign is three bytes, and each of them is a token of the tiny tokenizer."""
    tokenizer, said = tiny_tokenizer(), []
    ids = tokenizer.backend_tokenizer.encode("a€b", add_special_tokens=False).ids
    text = Unrolled(tokenizer, said.append)
    for n in range(len(ids)):
        text.hear(ids[: n + 1])
    text.finish()
    assert said == ["a", "€", "b"] and text.said == "a€b"


def test_control_characters_do_not_reach_the_terminal(capsys):
    _out("\x1b]0;owned\x07 ok\r\n\u202eabc\t👩\u200d🔧")
    assert capsys.readouterr().out == "␛]0;owned␇ ok␍\n\ufffdabc\t👩\u200d🔧"


class Parrot:
    """Says how many turns it was given and the last of them."""

    def answer(self, turns, say):
        return self._say("now", turns, say)

    def answer_before(self, turns, say):
        return self._say("then", turns, say)

    def _say(self, who, turns, say):
        text = f"{who} {len(turns)} {turns[-1]['content']}"
        say(text)
        return text


def talk(*lines, system=None):
    said = []
    conversation = Conversation(Parrot(), said.append, system)
    going_on = [conversation.line(line) for line in lines]
    return "".join(said), conversation, going_on


def test_turns_add_up_and_before_is_no_turn():
    said, conversation, _ = talk("one", "/before", "two", "/before")
    assert said.splitlines() == ["now 1 one", "[before] then 1 one", "now 3 two", "[before] then 3 two"]
    assert [turn["role"] for turn in conversation.turns] == ["user", "assistant"] * 2


def test_a_template_that_refuses_what_was_said_ends_no_conversation(monkeypatch):
    """A model may say what its own template refuses; a first question that is refused is an error."""
    plain = Parrot.answer

    def refusing(self, turns, say):
        if any("<|channel|>" in turn["content"] for turn in turns[:-1]) or turns[-1]["content"] == "no":
            raise UserError("row 'prompt': the chat template refuses these messages: no channels.")
        return plain(self, turns, say)

    monkeypatch.setattr(Parrot, "answer", refusing)
    said, conversation, going_on = talk("one", "<|channel|>", "two", "/reset", "three")
    assert going_on == [True] * 5
    assert "no channels. /reset starts anew." in said and said.splitlines()[-1] == "now 1 three"
    assert [turn["role"] for turn in conversation.turns] == ["user", "assistant"]
    with pytest.raises(UserError):
        talk("no")


def test_reset_keeps_the_system_message():
    said, conversation, _ = talk("one", "/reset", "two", system="Be brief.")
    assert "now 2 two" in said
    assert conversation.turns[0] == {"role": "system", "content": "Be brief."}


def test_commands():
    said, _, going_on = talk("/before", "/bfore", "/help", "", "/quit")
    assert "Send a message first" in said and "did you mean '/before'" in said
    assert "/reset    forget the conversation" in said
    assert going_on == [True, True, True, True, False]


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_run_and_its_start_model(trained, lora):  # noqa: F811
    """What `generate` samples from the run's model, and for /before from the start model."""
    run = trained("dpo", lora)
    talker = Talker(str(run), Settings(max_new_tokens=8))
    turns = [{"role": "user", "content": "say 3"}]

    def drawn_from(name):
        model = load_model(name)
        wire_stop_tokens(model, talker.tokenizer)
        params = SamplingParams(
            max_new_tokens=8, seed=0, temperature=0.0, stop_token_ids=stop_token_ids(model)
        )
        return generate(model, talker.tokenizer, [turns], params)[0][0].text

    after, before = drawn_from(str(run)), drawn_from(talker.start_name)
    assert talker.answer(turns, lambda text: None) == after
    assert talker.answer_before(turns, lambda text: None) == before
    assert after != before
    assert talker.answer(turns, lambda text: None) == after


@pytest.mark.parametrize(
    ("finish", "mark"), [("length", " [cut at 2 tokens, the limit of --max-new-tokens]"), ("stop", "")]
)
def test_an_answer_that_the_limit_cut_says_so(trained, monkeypatch, finish, mark):  # noqa: F811
    drawn = streaming.stream
    monkeypatch.setattr(streaming, "stream", lambda *given: replace(drawn(*given), finish=finish))
    talker, heard = Talker(str(trained("dpo")), Settings(max_new_tokens=2)), []
    said = talker.answer([{"role": "user", "content": "say 3"}], heard.append)
    assert "".join(heard) == said + mark


def test_ctrl_c_stops_the_answer_and_not_the_conversation(trained, monkeypatch):  # noqa: F811
    talker = Talker(str(trained("dpo")), Settings(max_new_tokens=8))
    heard = []

    def say(text):
        heard.append(text)
        if len(heard) == 1:
            raise KeyboardInterrupt

    cut = talker.answer([{"role": "user", "content": "say 3"}], say)
    assert heard[-1] == " …" or " …" in heard
    assert talker.answer([{"role": "user", "content": "say 3"}], lambda text: None).startswith(cut)


def test_piped_input_gets_answers_alone(trained, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(sys, "stdin", io.StringIO("say 3\n/before\n/reset\n"))
    chat.chat(str(trained("dpo")), Settings(max_new_tokens=4))
    out = capsys.readouterr().out
    assert "[before] " in out and out.endswith("The conversation is forgotten.\n") and ">" not in out


def test_a_reward_model_has_no_words(trained):  # noqa: F811
    with pytest.raises(UserError, match="gives scores, not words"):
        Talker(str(trained("reward")), Settings())


def test_a_folder_without_a_recipe_has_no_before(trained):  # noqa: F811
    talker = Talker(str(trained("dpo") / "model"), Settings(max_new_tokens=2))
    with pytest.raises(UserError, match="its start model is not known"):
        talker.answer_before([{"role": "user", "content": "say"}], lambda text: None)
