"""Parts of a soak test.

- `scenarios`: calls of every kind, each of which checks its answer
- `callers`: threads and tasks that run scenarios, and count outcomes
- `samples`: the server's resources over time, and their growth
"""
