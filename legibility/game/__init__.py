"""The game's phases in a run folder: base text, verifiers, provers, their text, and the gates between them."""
