"""Mutation testing of the rules: each is changed in one place, and its own checks must object.

``python -m tests.mutation`` makes the mutants of every rule in the table, runs the checks of
tapegrad.testing.rules on each, and prints how many they caught. A general mutation library runs a test command for
each mutant and knows nothing of the table; here a mutant is one fork, one swapped code object, and those checks that
reach the changed line, the most promising first. A run goes on where one before it stopped; ``--again`` runs
its survivors once more, after cases were added. Rules mustn't be edited while it runs: run it in a copy then.
"""
