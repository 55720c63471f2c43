"""A server as operating system processes: supervisor, workers, signals, ports."""
