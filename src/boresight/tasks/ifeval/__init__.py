"""IFEval: instructions whose following a program can check, such as "at least 300 words" or "no commas".

The instructions and the two criteria are those of Zhou et al., "Instruction-Following Evaluation for Large
Language Models" (arXiv:2311.07911), and of the code published with it. A row names its instructions in
`instruction_id_list` and gives their parameters in `kwargs`, one object per instruction.
"""
