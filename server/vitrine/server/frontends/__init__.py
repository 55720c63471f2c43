"""Carries bytes and metadata between callers and protocols, one transport per folder."""
