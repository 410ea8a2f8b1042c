"""python -m segdepth_training: the same as segdepth-train."""

from segdepth_training.command import main

if __name__ == "__main__":
    main()
