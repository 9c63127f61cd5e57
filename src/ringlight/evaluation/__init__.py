"""Evaluation: how good raw scores are, as numbers and as pictures."""
