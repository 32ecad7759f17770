"""Many recipes compared: published settings against tuned ones, with seeds, answers and intervals.

plan (the arms) → storage (the folder) → arms (each is checked, trained and answers prompts) → read (the
results) → results (means and paired differences) → report (figures and page).
"""
