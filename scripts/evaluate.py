"""`legibility evaluate` as a script, with the same options.

python scripts/evaluate.py runs/nano --quick
"""

from __future__ import annotations

from legibility.cli import as_command


def main() -> None:
    """Robustness, legibility tax and probes of a run, as `legibility evaluate`."""
    as_command("evaluate")


if __name__ == "__main__":
    main()
