"""Many runs together: sweeps over the settings of one recipe, and studies that compare recipes.

    engine/   runs the jobs of a folder: open jobs, claims of workers, outcomes, dependencies between jobs
    sweep/    a recipe with many settings: its trials, search, pruning, confirmation of the best, report
    study/    a plan with many recipes (arms): training, answers to held-out prompts, comparisons, report

A sweep or a study implements two classes for the engine. The folder (`Sweep`, `Study`) defines the paths and
reads and writes outcomes; the report is made from this folder alone. The experiment (`SweepTrials`,
`StudyArms`) lists the jobs and runs one job. The engine does the rest: it runs each open job once, converts
failures into sentences, continues after a kill or a signal, and shares the jobs among workers.
"""
