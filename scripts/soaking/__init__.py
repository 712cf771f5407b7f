"""The parts of scripts/soak.py: kills, fuzzed input, damaged files, full disks, many raters."""
