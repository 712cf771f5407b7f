"""Models: the prover, the verifier, the built-in nano pair, and how they run over packed tokens."""
