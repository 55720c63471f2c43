"""The models that are served: one file, or a repository whose changes are followed."""
