"""IFEval: instructions that can be checked by a program, such as "at least 300 words" or "no commas".

The instructions and the two criteria are those of Zhou et al., "Instruction-Following Evaluation for Large
Language Models" (arXiv:2311.07911), and of the code published with it. The column `instruction_id_list` of a
row contains its instructions, and `kwargs` their parameters, one object per instruction.
"""
