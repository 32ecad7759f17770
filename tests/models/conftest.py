"""A saved model that tests damage."""

from __future__ import annotations

import pytest

from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def saved(tmp_path):
    """A tiny model with its tokenizer on disk; its output layer is a matrix of its own."""
    tiny_model(tie_word_embeddings=False).save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"
