"""The model card: facts from the run's own files, and how to load the folder. It contains only measured
numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from boresight.core.files import read_json, write_text
from boresight.core.wording import percent, plural
from boresight.data.reading.files import is_hub_id
from boresight.data.reading.sources.mixture import JOINED
from boresight.export.plan import exported_model, note_on_4_bits
from boresight.models.source import embedded_in
from boresight.reports.facts import environment_facts, facts
from boresight.reports.read_run import RunData, read_run
from boresight.reports.tables.intervals import interval_text
from boresight.reports.tables.metrics import MetricRow, metric_rows

if TYPE_CHECKING:
    from boresight.export.gguf.compare import GgufFile
    from boresight.export.plan import ExportPlan
    from boresight.export.weights import Drift

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SHARE = re.compile(r" \([0-9.e+-]+\)$")
"""A share at the end of the name of a source of several."""
STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTER_NOTE = f"The start model is {STARTER} with weights that went through 4-bit quantization (Q4_1)."
LIBRARIES = {"merged": "transformers", "adapter": "peft", "gguf": "gguf"}
SHOWN = ("boresight", "torch", "transformers", "peft", "python", "commit")


def write_card(
    plan: ExportPlan, readback: Drift | Sequence[GgufFile] | None, folder: Path, name: str
) -> None:
    """Write `README.md` with the hub's YAML header to `folder`; `name` is the folder's final name.

    `readback` is the comparison with the files as read back: merged weights, or every GGUF file.
    """
    write_text(folder / "README.md", render_card(plan, readback, folder, name))


def render_card(
    plan: ExportPlan, readback: Drift | Sequence[GgufFile] | None, folder: Path, name: str
) -> str:
    """The card as Markdown. Names and paths of the run are untrusted text and escaped."""
    run = read_run(plan.run)
    start = str((run.config.get("model") or {}).get("name", ""))
    template = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "templates/README.md.j2").read_text(encoding="utf-8")
    )
    return template.render(
        run=run,
        name=_plain(name),
        library=LIBRARIES[plan.form],
        task="text-classification" if plan.head == "score" else "text-generation",
        base_model=_hub_id(start),
        relation="adapter" if plan.form == "adapter" else "finetune",
        datasets=list(_data_sets(run)),
        summary=_summary(plan, run, start),
        malformed=_malformed(run),
        splits=[_split_row(name, split) for name, split in run.data.items() if _has_rows(split)],
        facts=[(name, _plain(_short_path(value))) for name, value in facts(run)],
        recipe=_code(yaml.safe_dump(_without_folders(run.config), sort_keys=False), "yaml"),
        rows=[_metric_row(row) for row in metric_rows(run.metrics)],
        notes=_notes(plan, run, start),
        compared_with=exported_model(plan),
        usage=[(title, _code(code, language)) for title, language, code in _usage(plan, folder)],
        drift=None if readback is None or isinstance(readback, Sequence) else readback.sentence,
        files=[_file_row(file) for file in readback] if isinstance(readback, Sequence) else [],
        checks=[r for f in readback for r in f.check_rows] if isinstance(readback, Sequence) else [],
        environment=[(k, _plain(v)) for k, v in environment_facts(run) if k in SHOWN],
    )


def _notes(plan: ExportPlan, run: RunData, start: str) -> list[str]:
    quantized = note_on_4_bits(plan)
    own = [STARTER_NOTE] * (start == "starter") + ([quantized] if quantized else [])
    return own + [_plain(str(finding)) for finding in run.findings]


def _summary(plan: ExportPlan, run: RunData, start: str) -> str:
    what = {
        "merged": f"Weights in {plan.dtype}",
        "adapter": "A LoRA adapter",
        "gguf": f"GGUF files ({', '.join(plan.quantizations)})",
    }[plan.form]
    steps = f" in {plural(run.model_step, 'step')}" if run.model_step else ""
    kind = ", a reward model: one score for a whole conversation" if plan.head == "score" else ""
    return (
        f"{what} of {_plain(_short_path(start))} after {_plain(run.method)}{steps}{kind}. "
        f"Trained and evaluated with boresight, run {_plain(run.name)}."
    )


def _splits(run: RunData) -> Iterator[dict[str, Any]]:
    return (dict(split) for split in run.data.values() if isinstance(split, Mapping))


def _sources(split: Mapping[str, Any]) -> list[str]:
    """Names of the sources of a split, without their shares."""
    return [SHARE.sub("", name) for name in str(split.get("path", "")).split(JOINED)]


def _data_sets(run: RunData) -> dict[str, None]:
    """Hub ids of the data, each once, without splits and subsets, for the card's header."""
    names = [name.partition("@")[0].partition(":")[0] for s in _splits(run) for name in _sources(s)]
    return dict.fromkeys(name for name in names if _hub_id(name) == name)


def _has_rows(split: object) -> bool:
    """Whether it is a split, and not the digest of the prompts that both models answered."""
    return isinstance(split, Mapping) and "rows" in split


def _split_row(name: str, split: Mapping[str, Any]) -> list[str]:
    counts = [split.get(key) for key in ("rows", "kept", "truncated", "dropped")]
    numbers = [f"{n:,}" if isinstance(n, int) else "–" for n in counts]
    texts = [_plain(text) for text in (name, _where(split), str(split.get("layout", "")))]
    return [*texts, *numbers, f"`{_plain(str(split.get('sha256', '')))}`"]


def _malformed(run: RunData) -> list[str]:
    """A sentence per source that has malformed rows; both splits of one source list the same ones."""
    found = {_where(split): split.get("bad") for split in _splits(run)}
    return [
        f"{plural(len(rows), 'malformed row')} of {_plain(where)} left out."
        for where, rows in found.items()
        if isinstance(rows, list) and rows
    ]


def _where(split: Mapping[str, Any]) -> str:
    """The sources of a split without the folders that they are in."""
    return JOINED.join(map(_short_path, str(split.get("path", "")).split(JOINED)))


def _metric_row(row: MetricRow) -> list[str]:
    cells = [interval_text(found) for found in (row.before, row.after, row.difference)]
    return [_plain(row.label), *map(_plain, cells), row.n, row.verdict]


def _file_row(file: GgufFile) -> list[str]:
    kl = file.kl
    cells = [f"`{file.file}`", f"{file.megabytes:,.0f}", f"{kl.value:.2g} [{kl.low:.2g}, {kl.high:.2g}]"]
    return [*cells, percent(file.agree, 1), f"{kl.n:,}"]


def _usage(plan: ExportPlan, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Heading, language and code of every way to load the folder that holds for it."""
    if plan.form == "adapter":
        base = read_json(folder / "adapter_config.json")
        yield from _adapter_usage(base["base_model_name_or_path"])
    elif plan.form == "gguf":
        file = min(folder.glob("*.gguf")).name
        yield "With llama.cpp:", "sh", f"llama-server -m PATH/{file} --jinja"
        yield "With Ollama:", "sh", "cd PATH && ollama create mine -f Modelfile && ollama run mine"
    elif plan.head == "score":
        yield "With transformers:", "python", USE_SCORE
    else:
        yield "With transformers:", "python", USE_CHAT
        yield "With vLLM:", "sh", "vllm serve PATH"
        yield "For llama.cpp:", "sh", "python convert_hf_to_gguf.py PATH --outfile model.gguf"


def _adapter_usage(base: str) -> Iterator[tuple[str, str, str]]:
    if embedded_in(base):  # its base is part of this package only
        yield "With boresight, which brings the base model:", "sh", "boresight chat PATH"
        return
    yield "With PEFT:", "python", USE_PEFT
    yield "With vLLM:", "sh", f"vllm serve {base} --enable-lora --lora-modules mine=PATH"


def _hub_id(name: str) -> str | None:
    """The hub id `name` is, if it is one; the embedded starter model comes from one."""
    bare = name.partition("@")[0]
    if bare == "starter":
        return STARTER
    return bare if HUB_ID.fullmatch(bare) and not _is_local(bare) else None


def _is_local(name: str) -> bool:
    """Whether a name of two parts is a path, also where the folder that it is relative to is not at hand."""
    return Path(name).exists() or name.startswith("runs/") or not is_hub_id(name)


def _short_path(text: str) -> str:
    """A local path by its last part: its folders are private to this machine."""
    return text if _hub_id(SHARE.sub("", text)) or "/" not in text else PurePath(text).name


def _without_folders(value: object) -> object:
    if isinstance(value, Mapping):
        return {_short_path(str(key)): _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return _short_path(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Untrusted text on one line: without Markdown tables, tags or links."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", flat)


def _code(text: str, language: str) -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.strip()}\n{fence}"


USE_CHAT = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH")
model = AutoModelForCausalLM.from_pretrained("PATH", dtype="auto")
messages = [{"role": "user", "content": "What is a tide?"}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=128)[0]))
"""
USE_PEFT = """
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")
"""
USE_SCORE = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH")
model = AutoModelForSequenceClassification.from_pretrained("PATH")
messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
# The score is read at the end-of-turn token, so nothing may follow it.
text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip()
print(model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits)
"""
