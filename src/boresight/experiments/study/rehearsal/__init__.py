"""A rehearsal of a plan: every arm for two steps on tiny stand-ins of its model and data, without a network.

hub_rows, model (what stands in) → stand_ins (which name is replaced by which) → shrink (the recipe of two
steps) → rehearse (all arms) → cost (expected time and money of the plan itself).
"""
