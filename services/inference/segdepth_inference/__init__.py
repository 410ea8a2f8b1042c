"""From a noisy frame to calibrated atom counts: network, Predictor, columns, domain gate, Serve replica."""
