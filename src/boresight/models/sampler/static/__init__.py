"""Decoding with tensors of fixed shapes and addresses, so that a step can be captured once and replayed."""
