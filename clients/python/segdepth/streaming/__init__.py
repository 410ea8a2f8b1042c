"""The stream: a window of frames under way, and the carriers that take them to a model and bring answers back."""
