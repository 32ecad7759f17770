# ruff: noqa: E501  (a template is easier to read where its lines end where the text does)
"""Small chat templates of our own, each with the structure of a family's: what differs between them, little else.

`single` is the prompt and the scored text of [Which?, quartz], written by hand. `split`: earlier turns are written
otherwise than the last. `refused` maps cases to a part of the reason why they make no row.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Family:
    """A template, the tokenizer's special tokens, and what comes of them."""

    template: str
    end: str
    single: tuple[str, str]
    specials: tuple[str, ...] = ()
    bos: str = "<s>"
    eos: str = "</s>"
    split: frozenset[str] = frozenset()
    refused: dict[str, str] = field(default_factory=dict)


THOUGHT = ("thought", "thoughts, multi-turn")
LOSES_THOUGHTS = dict.fromkeys(THOUGHT, "writes nothing of `reasoning_content`")
LOSES_CALLS = {"tools": "writes nothing of `tool_calls`"}
PLAIN = LOSES_THOUGHTS | LOSES_CALLS
NO_SYSTEM = dict.fromkeys(("system", "system, multi-turn"), "`data.system: fold`")
SEVERAL = frozenset(
    ["multi-turn", "system, multi-turn", "thoughts in the words", "blank lines first", "tools"]
)
THINKS = SEVERAL | {"thoughts, multi-turn"}

ASK = "{% if add_generation_prompt %}"
OPEN, CLOSE = "<|im_start|>", "<|im_end|>"
IM = (OPEN, CLOSE)
CHATML_PROMPT = f"{OPEN}user\nWhich?{CLOSE}\n{OPEN}assistant\n"
CHATML_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
CHATML_ASK = ASK + "<|im_start|>assistant\n{% endif %}"
CHATML_TOOLS = "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
CALLS = "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}"

# Qwen3: thoughts are a key of the message or in its words, and are written after the last question only.
QWEN3_THOUGHT = (
    "{% set n = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set n.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% set words, thought = m.content, m.reasoning_content or '' %}"
    "{% if m.role == 'assistant' and not thought and '</think>' in words %}"
    "{% set thought = words.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{% set words = words.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
)
QWEN3 = (
    CHATML_TOOLS + QWEN3_THOUGHT + "<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
    "{% if m.role == 'assistant' and loop.index0 > n.last and (loop.last or thought) %}"
    "<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ words }}" + CALLS + "<|im_end|>\n{% endfor %}"
)


def roles(turns: str, head: str = "", ask: str = "") -> str:
    """A template that writes each message alike."""
    return (
        head + "{% for m in messages %}" + turns + "{% endfor %}" + (ASK + ask + "{% endif %}" if ask else "")
    )


FAMILIES: dict[str, Family] = {
    "chatml (SmolLM2)": Family(
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n"
        "{% endif %}" + CHATML_TURN + "{% endfor %}" + CHATML_ASK,
        CLOSE, (f"{OPEN}system\nBe kind.{CLOSE}\n{CHATML_PROMPT}", f"quartz{CLOSE}"), IM, refused=PLAIN,
    ),
    "qwen 2.5": Family(
        CHATML_TOOLS + "{% for m in messages %}" + CHATML_TURN.replace("<|im_end|>", CALLS + "<|im_end|>")
        + "{% endfor %}" + CHATML_ASK,
        CLOSE, (CHATML_PROMPT, f"quartz{CLOSE}"), IM, refused=LOSES_THOUGHTS,
    ),
    "qwen 3": Family(
        QWEN3 + CHATML_ASK, CLOSE, (CHATML_PROMPT, f"<think>\n\n</think>\n\nquartz{CLOSE}"), IM, split=THINKS,
    ),
    "qwen 3 thinking, QwQ": Family(
        QWEN3 + ASK + "<|im_start|>assistant\n<think>\n{% endif %}",
        CLOSE, (f"{CHATML_PROMPT}<think>\n", f"\n</think>\n\nquartz{CLOSE}"), IM, split=THINKS,
    ),
    "qwen 3 instruct 2507": Family(
        CHATML_TOOLS + "{% for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
        "{% if m.role == 'tool' %}<tool_response>\n{% endif %}{{ m.content }}" + CALLS + "<|im_end|>\n{% endfor %}"
        + CHATML_ASK,
        CLOSE, (CHATML_PROMPT, f"quartz{CLOSE}"), IM, refused=LOSES_THOUGHTS,
    ),
    "llama 2": Family(
        "{% if messages[0].role == 'system' %}{% set first, rest = messages[0].content, messages[1:] %}"
        "{% else %}{% set first, rest = '', messages %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}"
        "{{ bos_token }}[INST] {% if loop.first and first %}<<SYS>>\n{{ first }}\n<</SYS>>\n\n{% endif %}"
        "{{ m.content | trim }} [/INST]{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}",
        "</s>", ("<s>[INST] Which? [/INST]", " quartz </s>"), refused=PLAIN,
    ),
    "llama 3": Family(
        roles("<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>", "{{ bos_token }}",
              "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        "<|eot_id|>",
        ("<s><|start_header_id|>user<|end_header_id|>\n\nWhich?<|eot_id|>"
         "<|start_header_id|>assistant<|end_header_id|>\n\n", "quartz<|eot_id|>"),
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), refused=PLAIN,
    ),
    "llama 3.2, which prints the day": Family(
        "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string or "
        "strftime_now('%d %b %Y')[:0] }}\n\n{% if messages[0].role == 'system' %}{{ messages[0].content }}"
        "{% set messages = messages[1:] %}{% endif %}{% if tools %}{{ tools | tojson }}{% endif %}<|eot_id|>"
        "{% for m in messages %}<|start_header_id|>{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>\n\n"
        "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content | trim }}{% endif %}"
        "<|eot_id|>{% endfor %}" + ASK + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        "<|eot_id|>",
        ("<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: \n\n<|eot_id|><|start_header_id|>user"
         "<|end_header_id|>\n\nWhich?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "quartz<|eot_id|>"),
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), refused=LOSES_THOUGHTS,
    ),
    "mistral 0.2": Family(
        "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
        "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}"
        "{% endfor %}",
        "</s>", ("<s>[INST] Which? [/INST]", "quartz</s>"), ("[INST]", "[/INST]"), refused=PLAIN | NO_SYSTEM,
    ),
    "mistral 0.3, Nemo": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first, rest = messages[0].content, messages[1:] %}"
        "{% else %}{% set first, rest = '', messages %}{% endif %}{% set n = namespace(last=-1) %}{% for m in rest %}"
        "{% if m.role == 'user' %}{% set n.last = loop.index0 %}{% endif %}{% endfor %}{% for m in rest %}"
        "{% if m.role == 'user' %}{% if tools and loop.index0 == n.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}"
        "[/AVAILABLE_TOOLS]{% endif %}[INST]{% if first and loop.last %}{{ first }}\n\n{% endif %}"
        "{{ m.content }}[/INST]{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
        "{% elif m.tool_calls %}[TOOL_CALLS]{{ m.tool_calls[0].function | tojson }}{{ eos_token }}"
        "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        "</s>", ("<s>[INST]Which?[/INST]", "quartz</s>"), ("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]"),
        split=frozenset(["system, multi-turn"]), refused=LOSES_THOUGHTS,
    ),
    "mistral small 3": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
        "{% elif m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}"
        "{% endfor %}",
        "</s>", ("<s>[INST]Which?[/INST]", "quartz</s>"), ("[INST]", "[/INST]", "[SYSTEM_PROMPT]"), refused=PLAIN,
    ),
    "gemma 2": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}" + roles("<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
                              "{{ m.content | trim }}<end_of_turn>\n", "", "<start_of_turn>model\n"),
        "<end_of_turn>",
        ("<s><start_of_turn>user\nWhich?<end_of_turn>\n<start_of_turn>model\n", "quartz<end_of_turn>"),
        ("<start_of_turn>", "<end_of_turn>"), eos="<eos>", refused=PLAIN | NO_SYSTEM,
    ),
    "gemma 3": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first, rest = messages[0].content + '\n\n', "
        "messages[1:] %}{% else %}{% set first, rest = '', messages %}{% endif %}{% for m in rest %}<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ first if loop.first else '' }}{{ m.content | trim }}"
        "<end_of_turn>\n{% endfor %}" + ASK + "<start_of_turn>model\n{% endif %}",
        "<end_of_turn>",
        ("<s><start_of_turn>user\nWhich?<end_of_turn>\n<start_of_turn>model\n", "quartz<end_of_turn>"),
        ("<start_of_turn>", "<end_of_turn>"), eos="<eos>", refused=PLAIN,
    ),
    "phi 3": Family(
        roles("<|{{ m.role }}|>\n{{ m.content }}<|end|>\n", "",
              "<|assistant|>\n{% else %}{{ eos_token }}"),
        "<|end|>", ("<|user|>\nWhich?<|end|>\n<|assistant|>\n", "quartz<|end|>"),
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), eos="<|endoftext|>", refused=PLAIN,
    ),
    "phi 4": Family(
        roles("<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>", "", "<|im_start|>assistant<|im_sep|>"),
        CLOSE, (f"{OPEN}user<|im_sep|>Which?{CLOSE}{OPEN}assistant<|im_sep|>", f"quartz{CLOSE}"),
        (*IM, "<|im_sep|>"), refused=PLAIN,
    ),
    "zephyr, TinyLlama": Family(
        roles("<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n", "", "<|assistant|>\n"),
        "</s>", ("<|user|>\nWhich?</s>\n<|assistant|>\n", "quartz</s>"), refused=PLAIN,
    ),
    "vicuna": Family(
        "{% for m in messages %}{% if m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}"
        "{% else %}{{ m.role | upper }}: {{ m.content }} {% endif %}{% endfor %}" + ASK + "ASSISTANT: {% endif %}",
        "</s>", ("USER: Which? ASSISTANT: ", "quartz</s>"), refused=PLAIN,
    ),
    "deepseek 3": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content }}<｜end｜>{% else %}{{ m.content }}{% endif %}"
        "{% endfor %}" + ASK + "<｜Assistant｜>{% endif %}",
        "<｜end｜>", ("<s><｜User｜>Which?<｜Assistant｜>", "quartz<｜end｜>"), ("<｜User｜>", "<｜Assistant｜>", "<｜end｜>"),
        eos="<｜end｜>", refused=PLAIN,
    ),
    "deepseek r1": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end｜>"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}" + ASK + "<｜Assistant｜>{% endif %}",
        "<｜end｜>", ("<s><｜User｜>Which?<｜Assistant｜>", "quartz<｜end｜>"), ("<｜User｜>", "<｜Assistant｜>", "<｜end｜>"),
        eos="<｜end｜>", split=frozenset(["thoughts in the words"]), refused=PLAIN,
    ),
    "deepseek r1, which opens a thought": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end｜>"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}" + ASK + "<｜Assistant｜><think>\n{% endif %}",
        "<｜end｜>", ("", "which continues with '<think>\\n'"), ("<｜User｜>", "<｜Assistant｜>", "<｜end｜>"),
        eos="<｜end｜>", split=frozenset(["thoughts in the words"]),
        refused=dict.fromkeys(
            ("single turn", "multi-turn", "system", "system, multi-turn", "blank lines first"),
            "which continues with '<think>\\n'",
        ) | PLAIN,
    ),
    "gpt-oss": Family(
        "{% for m in messages %}{% if m.role == 'assistant' %}{% if m.thinking and loop.last %}"
        "<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
        "<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
        "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
        "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        + ASK + "<|start|>assistant{% endif %}",
        "<|return|>",
        ("<|start|>user<|message|>Which?<|end|><|start|>assistant", "<|channel|>final<|message|>quartz<|return|>"),
        ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"), eos="<|return|>",
        split=SEVERAL | {"thoughts, multi-turn"}, refused=LOSES_CALLS,
    ),
    "olmo 2": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n{{ m.content }}"
        "{{ eos_token }}{% if not loop.last %}\n{% endif %}{% else %}<|{{ m.role }}|>\n{{ m.content }}\n{% endif %}"
        "{% endfor %}" + ASK + "<|assistant|>\n{% endif %}",
        "<|endoftext|>", ("<|endoftext|><|user|>\nWhich?\n<|assistant|>\n", "quartz<|endoftext|>"),
        bos="<|endoftext|>", eos="<|endoftext|>", refused=PLAIN,
    ),
    "olmo 3": Family(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{{ eos_token if loop.last and m.role == 'assistant' else '<|im_end|>\n' }}{% endfor %}" + CHATML_ASK,
        "<|endoftext|>", (CHATML_PROMPT, "quartz<|endoftext|>"), IM, eos="<|endoftext|>", split=SEVERAL, refused=PLAIN,
    ),
    "command r": Family(
        roles("<|START_OF_TURN_TOKEN|>{{ {'user': '<|USER_TOKEN|>', 'system': '<|SYSTEM_TOKEN|>'}.get(m.role, "
              "'<|CHATBOT_TOKEN|>') }}{{ m.content | trim }}<|END_OF_TURN_TOKEN|>", "{{ bos_token }}",
              "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"),
        "<|END_OF_TURN_TOKEN|>",
        ("<s><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Which?<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
         "quartz<|END_OF_TURN_TOKEN|>"),
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"), refused=PLAIN,
    ),
    "granite 3": Family(
        roles("<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n", "",
              "<|start_of_role|>assistant<|end_of_role|>"),
        "<|end_of_text|>",
        ("<|start_of_role|>user<|end_of_role|>Which?<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
         "quartz<|end_of_text|>"),
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"), eos="<|end_of_text|>", refused=PLAIN,
    ),
    "kimi k2": Family(
        roles("<|im_{{ m.role }}|>{{ m.role }}<|im_middle|>{{ m.content }}<|im_end|>", "",
              "<|im_assistant|>assistant<|im_middle|>"),
        CLOSE, ("<|im_user|>user<|im_middle|>Which?<|im_end|><|im_assistant|>assistant<|im_middle|>", f"quartz{CLOSE}"),
        ("<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>", CLOSE), refused=PLAIN,
    ),
    "gemma 4, R1 without thinking: an empty thought is asked for": Family(
        "{{ bos_token }}{% for m in messages %}<|turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content | trim }}<turn|>\n{% endfor %}" + ASK + "<|turn>model\n<|channel>thought\n<channel|>{% endif %}",
        "<turn|>", ("<s><|turn>user\nWhich?<turn|>\n<|turn>model\n<|channel>thought\n<channel|>", "quartz<turn|>"),
        ("<|turn>", "<turn|>", "<|channel>", "<channel|>"), eos="<eos>",
        split=SEVERAL, refused=PLAIN,
    ),
    "nemotron 3, which opens a thought on a line of its own": Family(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and '<think>' not in m.content %}"
        "<think></think>{% endif %}{{ m.content | trim }}<|im_end|>\n{% endfor %}" + ASK
        + "<|im_start|>assistant\n<think>\n{% endif %}",
        CLOSE, (f"{CHATML_PROMPT}<think>\n", f"</think>quartz{CLOSE}"), IM,
        split=frozenset(["multi-turn", "system, multi-turn", "blank lines first"]), refused=PLAIN,
    ),
    "lfm 2.5, whose history keeps thoughts only while the last turn is written": Family(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.role != 'assistant' or "
        "(not add_generation_prompt and not loop.last) or loop.last else m.content.split('</think>')[-1] | trim }}"
        "<|im_end|>\n{% endfor %}" + CHATML_ASK,
        CLOSE, (CHATML_PROMPT, f"quartz{CLOSE}"), IM,
        split=frozenset(["thoughts in the words", "blank lines first"]), refused=PLAIN,
    ),
    "gigachat 3, which calls after its separator": Family(
        roles("{{ m.role }}<|role_sep|>{{ m.content }}<|message_sep|>{% if m.tool_calls %}"
              "{{ m.tool_calls[0].function | tojson }}<|message_sep|>{% endif %}\n", "", "assistant<|role_sep|>"),
        "<|message_sep|>", ("user<|role_sep|>Which?<|message_sep|>assistant<|role_sep|>", "quartz<|message_sep|>"),
        ("<|role_sep|>", "<|message_sep|>"),
        refused=LOSES_THOUGHTS | {"tools": "writes nothing of `tool_calls` in turn 2 before its <|message_sep|>"},
    ),
    "glm 4, which ends no turn": Family(
        roles("<|{{ m.role }}|>\n{{ m.content }}", "[gMASK]<sop>", "<|assistant|>"),
        "", ("", "ends an assistant's turn with no special token"), ("<|user|>", "<|assistant|>", "[gMASK]", "<sop>"),
        refused=dict.fromkeys(["*"], "ends an assistant's turn with no special token"),
    ),
    "glm edge, which always asks": Family(
        roles("<|{{ m.role }}|>\n{{ m.content }}") + "<|assistant|>",
        "", ("", "for the next turn after every conversation"), ("<|user|>", "<|assistant|>", "<|system|>"),
        refused=dict.fromkeys(["*"], "for the next turn after every conversation"),
    ),
}  # fmt: skip
