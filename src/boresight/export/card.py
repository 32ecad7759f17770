"""Write the model card: facts and measured numbers from the run's own files, and how to load the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from boresight.config.dotted import as_yaml
from boresight.core.files import read_json, write_text
from boresight.core.wording import percent, plural
from boresight.data.reading.sources.mixture import JOINED
from boresight.export.plan import exported_model, note_on_4_bits
from boresight.export.public_names import PublicNames, hub_id
from boresight.models.source import embedded_in
from boresight.reports.facts import environment_facts, facts
from boresight.reports.read_run import RunData, read_run
from boresight.reports.tables.intervals import interval_text
from boresight.reports.tables.metrics import MetricRow, metric_rows

if TYPE_CHECKING:
    from boresight.export.gguf.compare import GgufFile
    from boresight.export.plan import ExportPlan
    from boresight.export.weights import Drift

SHARE = re.compile(r" \([0-9.e+-]+\)$")
"""Pattern of the share that follows the name of a source in a mixture."""
STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTER_NOTE = f"The start model is {STARTER} with weights that went through 4-bit quantization (Q4_1)."
LIBRARIES = {"merged": "transformers", "adapter": "peft", "gguf": "gguf"}
SHOWN = ("boresight", "torch", "transformers", "peft", "python", "commit")


def write_card(
    plan: ExportPlan, readback: Drift | Sequence[GgufFile] | None, folder: Path, name: str
) -> None:
    """Write the model card to `README.md` in `folder`, with the hub's YAML header.

    Args:
        readback: comparisons of the exported files with the run's model: one for merged weights, one for each
            GGUF file, None for an adapter.
        name: final name of the folder, which is still a temporary one.
    """
    write_text(folder / "README.md", render_card(plan, readback, folder, name))


def render_card(
    plan: ExportPlan, readback: Drift | Sequence[GgufFile] | None, folder: Path, name: str
) -> str:
    """Return the model card as Markdown. Names and paths of the run are untrusted and therefore escaped."""
    run, names = read_run(plan.run), PublicNames()
    recipe = names.recipe(run.config)  # first: names are numbered in its order
    start = str((run.config.get("model") or {}).get("name", ""))
    template = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "templates/README.md.j2").read_text(encoding="utf-8")
    )
    return template.render(
        run=run,
        name=_plain(name),
        library=LIBRARIES[plan.form],
        task="text-classification" if plan.head == "score" else "text-generation",
        base_model=STARTER if start == "starter" else hub_id(start),
        relation="adapter" if plan.form == "adapter" else "finetune",
        datasets=list(_data_sets(run)),
        summary=_summary(plan, run, names.path(start)),
        malformed=_malformed(run, names),
        splits=[_split_row(name, split, names) for name, split in run.data.items() if _has_rows(split)],
        facts=[(k, _plain(names.path(v) if k == "model" else v)) for k, v in facts(run)],
        recipe=_code(as_yaml(recipe), "yaml"),
        rows=[_metric_row(row) for row in metric_rows(run.metrics)],
        notes=_notes(plan, run, names),
        compared_with=exported_model(plan),
        usage=[(title, _code(code, language)) for title, language, code in _usage(plan, folder, names)],
        drift=None if readback is None or isinstance(readback, Sequence) else readback.sentence,
        files=[_file_row(file) for file in readback] if isinstance(readback, Sequence) else [],
        checks=[r for f in readback for r in f.check_rows] if isinstance(readback, Sequence) else [],
        environment=[(k, _plain(v)) for k, v in environment_facts(run) if k in SHOWN],
    )


def _notes(plan: ExportPlan, run: RunData, names: PublicNames) -> list[str]:
    start, quantized = (run.config.get("model") or {}).get("name"), note_on_4_bits(plan)
    own = [STARTER_NOTE] * (start == "starter") + ([quantized] if quantized else [])
    return own + [_plain(names.text(str(finding))) for finding in run.findings]


def _summary(plan: ExportPlan, run: RunData, start: str) -> str:
    what = {
        "merged": f"Weights in {plan.dtype}",
        "adapter": "A LoRA adapter",
        "gguf": f"GGUF files ({', '.join(plan.quantizations)})",
    }[plan.form]
    steps = f" in {plural(run.model_step, 'step')}" if run.model_step else ""
    kind = ", a reward model: one score for a whole conversation" if plan.head == "score" else ""
    return (
        f"{what} of {_plain(start)} after {_plain(run.method)}{steps}{kind}. "
        f"Trained and evaluated with boresight, run {_plain(run.name)}."
    )


def _splits(run: RunData) -> Iterator[dict[str, Any]]:
    return (dict(split) for split in run.data.values() if isinstance(split, Mapping))


def _sources(split: Mapping[str, Any]) -> list[str]:
    """Return the names of the sources of a split, without their shares."""
    return [SHARE.sub("", name) for name in str(split.get("path", "")).split(JOINED)]


def _data_sets(run: RunData) -> dict[str, None]:
    """Return the distinct hub ids of the data, without splits and subsets, for the card's header."""
    ids = (hub_id(name) for split in _splits(run) for name in _sources(split))
    return dict.fromkeys(found for found in ids if found)


def _has_rows(split: object) -> bool:
    """Whether an entry of `data.json` is a split and not, for example, the digest of the answered prompts."""
    return isinstance(split, Mapping) and "rows" in split


def _split_row(name: str, split: Mapping[str, Any], names: PublicNames) -> list[str]:
    counts = [split.get(key) for key in ("rows", "kept", "truncated", "dropped")]
    numbers = [f"{n:,}" if isinstance(n, int) else "–" for n in counts]
    texts = [_plain(text) for text in (name, _where(split, names), str(split.get("layout", "")))]
    return [*texts, *numbers, f"`{_plain(str(split.get('sha256', '')))}`"]


def _malformed(run: RunData, names: PublicNames) -> list[str]:
    """Return a sentence for each source with malformed rows; several splits of a source give one sentence."""
    found = {_where(split, names): split.get("bad") for split in _splits(run)}
    return [
        f"{plural(len(rows), 'malformed row')} of {_plain(where)} left out."
        for where, rows in found.items()
        if isinstance(rows, list) and rows
    ]


def _where(split: Mapping[str, Any], names: PublicNames) -> str:
    """Return the public names of the sources of a split, with their shares."""
    sources = [(SHARE.sub("", name), name) for name in str(split.get("path", "")).split(JOINED)]
    return JOINED.join(names.path(source) + name[len(source) :] for source, name in sources)


def _metric_row(row: MetricRow) -> list[str]:
    cells = [interval_text(found) for found in (row.before, row.after, row.difference)]
    return [_plain(row.label), *map(_plain, cells), row.n, row.verdict]


def _file_row(file: GgufFile) -> list[str]:
    kl = file.kl
    cells = [f"`{file.file}`", f"{file.megabytes:,.0f}", f"{kl.value:.2g} [{kl.low:.2g}, {kl.high:.2g}]"]
    return [*cells, percent(file.agree, 1), f"{kl.n:,}"]


def _usage(plan: ExportPlan, folder: Path, names: PublicNames) -> Iterator[tuple[str, str, str]]:
    """Yield `(heading, language, code)` for every way to load the exported folder."""
    if plan.form == "adapter":
        base = read_json(folder / "adapter_config.json")
        yield from _adapter_usage(base["base_model_name_or_path"], names)
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


def _adapter_usage(base: str, names: PublicNames) -> Iterator[tuple[str, str, str]]:
    if embedded_in(base):  # its base is part of this package only
        yield "With boresight, which brings the base model:", "sh", "boresight chat PATH"
        return
    yield "With PEFT:", "python", USE_PEFT
    yield "With vLLM:", "sh", f"vllm serve {names.path(base)} --enable-lora --lora-modules mine=PATH"


def _plain(text: str) -> str:
    """Return untrusted text on one line, escaped so that it contains no Markdown tables, tags or links."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", flat)


def _code(text: str, language: str) -> str:
    """Return a fenced Markdown code block; the fence is longer than any sequence of backticks in the code."""
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
