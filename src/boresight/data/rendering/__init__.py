"""Render conversations with a chat template, and convert the text to token rows with a loss mask.

The template is treated as a black box that renders messages to text. An assistant turn starts where the
rendering of the messages before it, with the generation prompt, ends; it ends with the end-of-turn token
after its text. No code depends on the tags of a template, and no token is masked because of its id.

Example (ChatML, scored tokens in brackets):

    <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵[Hello.<|im_end|>]
"""
