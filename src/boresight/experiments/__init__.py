"""Many runs together: sweeps over the settings of one recipe, and studies that compare recipes.

    engine/   jobs in a folder: which are open, which worker has one, how each ended, what depends on what
    sweep/    a recipe with many settings: its trials, search, pruning, confirmation of the best, report
    study/    a plan with many recipes (arms): training, answers to held-out prompts, comparisons, report

A sweep or a study is described to the engine by two classes. Its folder (`Sweep`, `Study`) has the paths and
reads and writes outcomes; the report is made from it alone. Its experiment (`SweepTrials`, `StudyArms`) lists
the jobs and runs one. The engine decides the rest: it runs each open job once, converts failures into
sentences, continues after a kill or a signal, and shares the jobs among workers.
"""
