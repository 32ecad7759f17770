"""Try many settings of one recipe, and test the best against the default on fresh seeds and unseen prompts.

recipe, space (the settings) → storage (the folder that all workers share) → trials (trained, pruned; search
draws settings) → confirm (the best again, fresh seeds, unseen prompts) → results, figures, page (the report).
"""
