"""What the benchmarks share: one description of the work, one worker per trainer, one reader of their timings."""
