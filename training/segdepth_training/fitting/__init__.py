"""From frames to a model: weights, temperatures, familiarity, pooling."""
