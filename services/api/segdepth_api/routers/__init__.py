"""The routes, a module for each subject. `segdepth_api.app` puts them together."""
