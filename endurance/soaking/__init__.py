"""What a soak is made of.

- `ways`: the ways to call a server, each of which checks what comes
- `samples`: what the server holds over time, and how fast that grows
"""
