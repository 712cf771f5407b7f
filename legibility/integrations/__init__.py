"""Other people's training engines, given the game's prompts, verifier and rewards."""
