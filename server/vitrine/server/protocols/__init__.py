"""Translates messages to plain data and back, one protocol per module or folder. It knows no transport."""
