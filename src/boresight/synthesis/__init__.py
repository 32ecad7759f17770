"""Synthetic preference data: prompts → answers → judge → pairs → card.

Read in this order:

    request.py     what is asked of a model and what comes back
    ledger.py      every paid-for response, kept the moment it arrives
    budget.py      what a run may cost, reserved before anything is sent
    limits.py      requests and tokens a minute, concurrency that adapts
    client.py      one asynchronous client for generating and judging
    run.py         the stages, one after the other
"""
