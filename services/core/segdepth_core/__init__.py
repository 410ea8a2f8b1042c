"""From a noisy frame to calibrated atom counts: network, Predictor, columns, calibration, domain gate, scoring."""
