"""Files that survive crashes: atomic writes, checksums, locks, and the layout of the run folder."""
