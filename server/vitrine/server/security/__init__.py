"""Permissions, tokens, certificates, and the files they are read from. It knows no transport."""
