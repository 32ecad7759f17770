"""Synthetic preference data: prompts → answers → judge → pairs → card.

Read in this order:

    run.py         the stages, one after the other
    prompts.py     stage 1: from a file, or new ones in the style of seeds
    answers.py     stage 2: n answers of every source to every prompt
    judge.py       stage 3: a score for every answer
    pairs.py       stage 4: pairs of the best answer and the worst one of similar length
    card.py        stage 5: contents, sources and cost of the data set

The package `boresight.llm` implements requests, the ledger of paid responses, budgets and limits.
"""
