"""Conversations as the text of a chat template, and that text as token rows with the loss mask.

The template is a black box that renders messages to text. Where each assistant turn starts is found by
rendering what comes before it, followed by the generation prompt, and where it ends by the end-of-turn token
after its words. Nothing depends on template tags, and nothing is masked by the id of a token.

Example, ChatML, scored tokens in brackets:

    <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵[Hello.<|im_end|>]
"""
