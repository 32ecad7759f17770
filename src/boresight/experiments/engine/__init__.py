"""Runs many jobs from one folder, with one worker or several.

experiment (the jobs, and how to run one) → queue (jobs that are still open) → claim (which worker has a job)
→ attempt (run it, write its outcome) → worker (repeat until no job is open) → processes (several workers).

The folder is the only state. After a kill, the same command continues from the outcomes it finds there.
"""
