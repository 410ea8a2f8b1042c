"""From atoms to what a camera records: exit waves, imaging, labels, observations."""
