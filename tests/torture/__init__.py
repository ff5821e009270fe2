"""The campaign: thousands of damaged files and mistaken calls, and what the package makes of each.

``python -m tests.torture`` makes them all, by generating them from a seed, and prints a table of category by outcome.
A category is a file here with a function ``cases(count)``, which returns cases: the same for the same count.
"""
