"""`python -m legibility` is the same as `legibility`."""

from legibility.cli import main

if __name__ == "__main__":
    main()
