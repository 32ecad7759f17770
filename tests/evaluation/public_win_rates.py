"""Published win rates, percent, of models whose judge annotations lie in the public data folder.

From the leaderboard files of tatsu-lab/alpaca_eval (Apache-2.0): `win_rate` and `n_total` in
src/alpaca_eval/leaderboards, and `win_rate` in docs/data_AlpacaEval (commit ba9b14f) and
docs/data_AlpacaEval_2 (6df1460, 474386e), under the names that the annotations use. They cover 118 of the 124
pairs of judge and model that are annotated; `UNPUBLISHED` names the others, each with its reason.
"""

GPT4 = {
    "LMCocktail-10.7B-v1": (92.21669, 803),
    "Mistral-7B+RAHF-DUAL+LoRA": (94.90683, 805),
    "Yi-34B-Chat": (94.08468, 803),
    "alpaca-7b": (26.45963, 805),
    "alpaca-farm-ppo-human": (41.24224, 805),
    "causallm-14b": (88.26087, 805),
    "claude": (91.55280, 805),
    "claude-2": (91.35572, 804),
    "claude2-alpaca-13b": (78.92768, 802),
    "cohere": (90.62112, 805),
    "cut-13b": (91.35572, 804),
    "deita-7b-v1.0": (90.06211, 805),
    "evo-7b": (79.20299, 803),
    "evo-v2-7b": (89.35243, 803),
    "falcon-40b-instruct": (45.71429, 805),
    "ghost-7b-alpha": (70.44025, 795),
    "gpt-3.5-turbo-0301": (89.36567, 804),
    "gpt-3.5-turbo-1106": (86.25622, 804),
    "gpt35_turbo_instruct": (81.71036, 801),
    "gpt4": (95.27950, 805),
    "gpt4_0314": (94.78261, 805),
    "gpt4_1106_preview": (97.69900, 804),
    "guanaco-65b": (71.80124, 805),
    "llama-2-13b-chat-hf": (81.09453, 804),
    "llama-2-70b-chat-hf": (92.66169, 804),
    "llama-2-7b-chat-hf": (71.36646, 805),
    "llama-2-chat-7b-evol70k-neft": (82.08955, 804),
    "llama7B_freelb_lr5e-5_AdvLr0_InitAdvMax10_AdvStep1_Projl2_MaxNorm0_yuxinRun": (61.64384, 803),
    "minichat-1.5-3b": (78.55362, 802),
    "minichat-3b": (48.81841, 804),
    "mistral-medium": (96.83230, 805),
    "oasst-rlhf-llama-33b": (66.52174, 805),
    "pairrm-tulu-2-13b": (91.05590, 805),
    "pairrm-tulu-2-70b": (95.39801, 804),
    "pairrm-zephyr-7b-beta": (93.40796, 804),
    "phi-2": (30.66333, 799),
    "phi-2-sft": (68.53234, 804),
    "platolm-7b": (81.94271, 803),
    "recycled-wizardlm-7b-v1.0": (78.88199, 805),
    "recycled-wizardlm-7b-v2.0": (83.47826, 805),
    "text_davinci_001": (15.17413, 804),
    "tulu-2-dpo-13b": (88.12189, 804),
    "tulu-2-dpo-70b": (95.03106, 805),
    "tulu-2-dpo-7b": (84.22360, 805),
    "ultralm-13b-v2.0": (86.28429, 802),
    "ultralm-13b-v2.0-best-of-16": (92.29814, 805),
    "vicuna-13b": (70.43478, 805),
    "wizardlm-13b": (75.31095, 804),
    "zephyr-7b-alpha": (85.75871, 804),
}
"""Judge alpaca_eval_gpt4, against text_davinci_003. The long name is that of `alpaca-7b-neft`."""

WEIGHTED_GPT4_TURBO = {
    "FuseChat-Gemma-2-9B-Instruct": (70.49714, 805),
    "FuseChat-Llama-3.1-8B-Instruct": (63.33158, 805),
    "FuseChat-Llama-3.2-1B-Instruct": (29.92193, 805),
    "FuseChat-Llama-3.2-3B-Instruct": (51.29668, 805),
    "FuseChat-Qwen-2.5-7B-Instruct": (64.64070, 805),
    "Mixtral-8x7B-Instruct-v0.1_concise": (13.74404, 805),
    "OpenHermes-2.5-Mistral-7B": (10.34042, 805),
    "Qwen-14B-Chat": (7.50233, 805),
    "alpaca-7b": (2.59145, 805),
    "alpaca-farm-ppo-human": (4.10043, 805),
    "alpaca-farm-ppo-sim-gpt4-20k": (3.45034, 805),
    "baize-v2-13b": (4.59055, 805),
    "chatglm2-6b": (2.76218, 805),
    "claude": (16.98534, 805),
    "claude-2": (17.18824, 805),
    "claude-2.1": (15.73351, 805),
    "claude-2.1_concise": (9.22713, 805),
    "claude-instant-1.2": (16.12740, 805),
    "falcon-40b-instruct": (3.34292, 805),
    "falcon-7b-instruct": (2.14662, 805),
    "gemma-2b-it": (3.40197, 805),
    "gemma-7b-it": (6.93729, 805),
    "gpt-3.5-turbo-0301": (9.62245, 805),
    "gpt-3.5-turbo-1106": (9.17796, 805),
    "gpt35_turbo_instruct": (8.46245, 804),
    "gpt4_0613_concise": (9.40032, 805),
    "gpt4_1106_preview": (50.0, 805),
    "humpback-llama2-70b": (10.12177, 805),
    "jina-chat": (7.78613, 805),
    "minichat-3b": (3.00715, 805),
    "minotaur-13b": (5.73896, 804),
    "nous-hermes-13b": (5.41188, 805),
    "oasst-rlhf-llama-33b": (6.29643, 805),
    "oasst-sft-llama-33b": (4.77039, 805),
    "oasst-sft-pythia-12b": (1.79011, 805),
    "openbuddy-falcon-40b-v9": (5.95574, 805),
    "openbuddy-llama-30b-v7.1": (6.13001, 805),
    "openbuddy-llama2-13b-v11.1": (6.17472, 805),
    "openbuddy-llama2-70b-v10.1": (8.09642, 805),
    "phi-2": (2.35021, 803),
    "phi-2-sft": (3.97757, 805),
    "pythia-12b-mix-sft": (2.57809, 805),
    "text_davinci_001": (2.76401, 803),
    "ultralm-13b": (5.07459, 805),
    "vicuna-13b": (5.83110, 805),
    "vicuna-13b-v1.5": (6.72212, 805),
    "vicuna-13b-v1.5-togetherai": (6.95828, 805),
    "vicuna-7b": (4.16261, 805),
    "vicuna-7b-v1.3": (4.64251, 805),
    "vicuna-7b-v1.5": (4.79749, 805),
    "wizardlm-13b": (5.87815, 805),
}
"""Judge weighted_alpaca_eval_gpt4_turbo, against gpt4_1106_preview."""

COT_GPT4_TURBO = {
    "Mistral-7B-Instruct-v0.2": (15.52795, 805),
    "Mixtral-8x7B-Instruct-v0.1": (19.93789, 805),
    "alpaca-7b": (2.42236, 805),
    "claude-2.1": (12.91925, 805),
    "cohere": (17.26708, 805),
    "gemini-pro": (17.03980, 804),
    "gpt-3.5-turbo-0301": (6.64596, 805),
    "gpt4": (20.0, 805),
    "gpt4_1106_preview": (50.0, 805),
    "llama-2-70b-chat-hf": (15.15528, 805),
    "tulu-2-dpo-70b": (16.95652, 805),
    "vicuna-33b-v1.3": (13.35404, 805),
}
"""Judge alpaca_eval_cot_gpt4_turbo_fn, against gpt4_1106_preview."""

GPT4_TURBO = {
    "Ein-70B-v0.1": (24.84472, 805),
    "Mistral-7B-ReMax-v0.1": (94.39601, 803),
    "Mixtral-8x7B-Instruct-v0.1": (22.79503, 805),
    "cohere": (19.25466, 805),
    "gemini-pro": (20.37267, 805),
    "gpt-3.5-turbo-0301": (8.01242, 805),
}
"""Judge alpaca_eval_gpt4_turbo_fn, against gpt4_1106_preview. Two stand on leaderboards of other judges:
Ein-70B-v0.1 on weighted_alpaca_eval_gpt4_turbo's, and Mistral-7B-ReMax-v0.1 on alpaca_eval_gpt4's, against
text_davinci_003."""

PUBLISHED = {
    "alpaca_eval_gpt4": GPT4,
    "weighted_alpaca_eval_gpt4_turbo": WEIGHTED_GPT4_TURBO,
    "alpaca_eval_cot_gpt4_turbo_fn": COT_GPT4_TURBO,
    "alpaca_eval_gpt4_turbo_fn": GPT4_TURBO,
}

UNPUBLISHED = {
    ("alpaca_eval_gpt4", "mistral-orpo-beta"): "scored there by weighted_alpaca_eval_gpt4_turbo alone",
    (
        "alpaca_eval_gpt4_turbo_fn",
        "Mistral-7B-Instruct-v0.2",
    ): "its rows are the cot judge's",
    ("alpaca_eval_gpt4_turbo_fn", "Samba-CoE-v0.1"): "scored there by weighted_alpaca_eval_gpt4_turbo alone",
    ("alpaca_eval_gpt4_turbo_fn", "Samba-CoE-v0.2"): "scored there by weighted_alpaca_eval_gpt4_turbo alone",
    ("bedrock_claude", "bedrock_claude"): "a judge without a leaderboard",
    ("weighted_alpaca_eval_gpt4_turbo", "text_davinci_003"): "on no leaderboard of this judge",
}
"""Annotated pairs of judge and model without a published score to compare with, and why."""
