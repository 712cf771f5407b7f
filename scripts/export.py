"""`legibility export` as a script, with the same options.

python scripts/export.py runs/nano --out study
"""

from __future__ import annotations

from legibility.cli import as_command


def main() -> None:
    """Make a blinded study folder, as `legibility export`."""
    as_command("export")


if __name__ == "__main__":
    main()
