"""Logs, metrics, traces and activation health. It reads calls and models; nothing below reads it."""
