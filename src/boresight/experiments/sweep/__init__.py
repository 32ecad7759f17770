"""Many runs of one recipe, and whether the best settings beat the default on fresh seeds.

space (what is tried) → storage (one folder that all workers share) → worker (claims and runs trials)
→ confirm (the best again, fresh seeds, unseen prompts) → table.
"""
