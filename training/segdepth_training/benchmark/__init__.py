"""The public benchmark: what it is, who is examined, and what came out."""
