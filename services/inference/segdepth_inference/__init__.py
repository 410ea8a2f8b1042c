"""The Predictor as a service: Serve replica, model keeper, shadow, and the same in a caller's own process."""
