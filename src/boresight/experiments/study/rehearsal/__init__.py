"""Rehearse a plan: run every arm for two steps on tiny stand-ins of its model and data, without a network.

hub_rows, model (the stand-ins) → stand_ins (replace names of models and data) → shrink (the recipe of two
steps) → rehearse (all arms) → cost (expected time and cost of the plan itself).
"""
