"""Prepares callers' image files in processes of their own, which may be killed: what is in a file is a stranger's."""
