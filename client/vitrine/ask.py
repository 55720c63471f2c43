"""The command `vitrine`, up to the point where gRPC is loaded, which reads its settings then.

Its notes of a failed handshake would surround the one sentence that the command prints.
"""

import os


def main() -> None:
    """Runs the command. GRPC_VERBOSITY=INFO brings gRPC's notes back."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from vitrine.bulk.cli import replay, score
    from vitrine.client.cli import main as run  # loads gRPC

    run.add_command(score)
    run.add_command(replay)
    run()


if __name__ == "__main__":
    main()
