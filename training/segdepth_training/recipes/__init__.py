"""What a run is asked for: crystal, microscope, camera and numbers, with the seeds that follow."""
