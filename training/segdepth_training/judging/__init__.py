"""How good a model is: figures, gates, reports."""
