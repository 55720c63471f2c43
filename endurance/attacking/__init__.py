"""Attacks on a server's memory, threads and connections, and the honest caller who must not notice them."""
