"""The frontier: accuracy against every measure of legibility, for every arm, over seeds and at equal cost.

`spending` counts what an arm cost, `measures` names what is measured, `frontier` takes both from run folders, `frontier_page` shows
them.
"""
