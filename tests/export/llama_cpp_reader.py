"""A GGUF file in llama.cpp itself, through the C functions of the package llama-cpp-python."""

import ctypes

import numpy as np
import pytest

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
llama_cpp.llama_backend_init()


class LlamaCppFile:
    """A model of llama.cpp on the CPU, with a context of 256 tokens. Use it inside `with`."""

    def __init__(self, file):
        settings = llama_cpp.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), settings)
        assert self._model, f"llama.cpp cannot load {file}"
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_threads, context.n_threads_batch = 256, 1, 1
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        assert self._context
        self.vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    @property
    def chat_template(self):
        """The template in the file."""
        return llama_cpp.llama_model_chat_template(self._model, None).decode()

    def ends(self, token):
        """Whether generation ends with `token`."""
        return llama_cpp.llama_vocab_is_eog(self.vocabulary, token)

    def tokens(self, text):
        """Token ids of a text whose special tokens are written out, without a beginning-of-sequence token."""
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), ids, len(ids), False, True)
        assert count >= 0
        return list(ids[:count])

    def logits(self, ids):
        """Logits after each of `ids`, `(tokens, vocabulary)`, float32."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place] = token, place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
        batch.n_tokens = len(ids)
        assert llama_cpp.llama_decode(self._context, batch) == 0
        found = np.ctypeslib.as_array(
            ctypes.cast(llama_cpp.llama_get_logits(self._context), ctypes.POINTER(ctypes.c_float)),
            (len(ids), self.size),
        ).copy()
        llama_cpp.llama_batch_free(batch)
        return found

    def greedy(self, ids, most):
        """The most likely continuation of `ids`: up to `most` tokens, the one that ends it included."""
        answer = []
        while len(answer) < most and not (answer and self.ends(answer[-1])):
            answer.append(int(self.logits([*ids, *answer])[-1].argmax()))
        return answer
