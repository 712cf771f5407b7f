"""The sections of an evaluation: one module each, with a `compute` whose result becomes `evaluation/<name>.json`."""
