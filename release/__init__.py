"""Building and checking what is published: the source distribution and the wheel."""
