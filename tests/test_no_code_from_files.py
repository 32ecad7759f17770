"""Nothing that is read from a file or a server runs as code: no pickle, no remote code, no shell, no eval."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from boresight.core.errors import UserError
from boresight.models.load import load_model
from boresight.models.reward import load_reward_model
from tests.tiny import tiny_model, tiny_tokenizer

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "commands"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pty.spawn", "runpy.run_path"),
    *("torch.load", "torch.save", "torch.hub.load", "np.load", "numpy.load", "pd.read_pickle"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"),
}
"""Calls that run what they are given, or read files that can hold code."""
UNSAFE = {"shell": True, "allow_pickle": True, "trust_remote_code": True, "weights_only": False}
SAFE_LOADERS = {"_Loader", "SafeLoader", "yaml.SafeLoader", "CSafeLoader", "yaml.CSafeLoader"}
ARCHITECTURES = {"AutoTokenizer", "AutoConfig", "_auto(head)", "type(empty)"}
"""What decides from a folder's own words which class to make."""


def dangers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of everything in a module that can run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {k.arg: getattr(k.value, "value", ast.unparse(k.value)) for k in node.keywords}
            loader = {ast.unparse(part) for part in node.args[1:]}
            unsafe = any(options.get(name) == value for name, value in UNSAFE.items())
            if called in CALLS or unsafe or (called == "yaml.load" and not loader & SAFE_LOADERS):
                yield node.lineno, called


def test_no_module_reads_what_could_run():
    found = {
        f"{file.relative_to(SOURCE)}:{line} {what}"
        for file in SOURCE.rglob("*.py")
        for line, what in dangers(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from joblib import load", "eval(x)", "torch.load(f)", "np.load(f)"),
        *("np.savez(f, allow_pickle=True)", "subprocess.run(x, shell=True)", "yaml.load(x)"),
        *("yaml.load(x, yaml.Loader)", "A.from_pretrained(x, trust_remote_code=True)", "os.system(x)"),
    ],
)
def test_each_of_them_would_be_found(line):
    assert list(dangers(ast.parse(line)))


def test_every_loader_refuses_the_code_of_a_folder():
    """Left out, transformers asks on the terminal, where `yes |` answers."""
    open_ = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
        and ast.unparse(node.func.value) in ARCHITECTURES
        and not any(k.arg in ("trust_remote_code", "gguf_file") for k in node.keywords)
    ]
    assert open_ == []


@pytest.fixture
def folder(tmp_path):
    """A model whose weights are a pickle that would write a file when it is loaded."""
    (tmp_path / "model").mkdir()
    tiny_model().config.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    written = f"cposix\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(written)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(written)
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "model"), "r": 4}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.parametrize("load", [load_model, load_reward_model])
@pytest.mark.parametrize("name", ["model", "adapter"])
def test_a_pickle_is_refused_and_never_read(load, name, folder):
    with pytest.raises(UserError, match="pickle"):
        load(str(folder / name))
    assert not (folder / "ran").exists()
