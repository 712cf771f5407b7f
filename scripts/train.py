"""`legibility train` as a script, with the same options: what `torchrun` and `accelerate launch` take.

python scripts/train.py nano --quick
"""

from __future__ import annotations

from legibility.cli import as_command


def main() -> None:
    """Play a whole game, as `legibility train`."""
    as_command("train")


if __name__ == "__main__":
    main()
