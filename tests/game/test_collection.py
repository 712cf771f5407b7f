"""How much text a round's prover writes for later verifiers."""

from __future__ import annotations

from legibility.config import Config
from legibility.game.collection import collection_sizes


def test_collections_shrink_with_the_share_that_later_verifiers_take():
    def sizes(rounds, **mixture):
        config = Config(
            game={
                "rounds": rounds,
                "collection_samples": 8,
                "collection_samples_sneaky": 10,
                "collection_by_share": True,
            },
            mixture=mixture,
        )
        return [tuple(collection_sizes(config, r)[role] for role in ("helpful", "sneaky")) for r in range(rounds)]

    assert sizes(4, base_share=0.3) == [(8, 10), (4, 5), (3, 4), (2, 2)]  # shares .7, .35, .233, none
    assert sizes(3, weights="latest", base_share=0.3) == [(8, 10), (8, 10), (2, 2)]
    assert sizes(3, weights="pow2") == [(8, 10), (8, 10), (2, 2)]  # half of verifier 1's texts, half of verifier 2's
    assert sizes(1) == [(2, 2)]
    full = Config(game={"rounds": 2, "collection_samples": 5})
    assert [collection_sizes(full, r) for r in range(2)] == [{"helpful": 5, "sneaky": 5}] * 2
