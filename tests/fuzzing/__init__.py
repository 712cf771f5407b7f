"""Strategies and checks for made-up and spoiled input: the default run draws a few, scripts/soak.py many."""
