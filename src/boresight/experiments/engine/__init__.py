"""Jobs in one folder, run by one worker or several.

folder (paths and outcomes) → experiment (the jobs, and how to run one) → queue (jobs that are open) → claim
(which worker has a job) → attempt (run it, write its outcome) → worker (repeat until no job is open)
→ processes (several workers).

The folder is the only state. After a kill, the same command continues from the outcomes in it.
"""
