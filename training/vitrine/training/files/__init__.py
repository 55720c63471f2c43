"""Files that survive crashes: atomic writes, checksums, locks, the run folder."""
