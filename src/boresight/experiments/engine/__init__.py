"""Run the jobs of one folder with one or several workers.

folder (paths and outcomes) → experiment (the jobs, and how to run one) → queue (jobs that are open) → claim
(which worker has a job) → attempt (run it, write its outcome) → worker (repeat until no job is open)
→ processes (several workers).

All state is in the folder. After a kill, the same command continues from the outcomes stored there.
"""
