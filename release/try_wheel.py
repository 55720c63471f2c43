"""Uses an installed Vitrine as a newcomer would: the client alone, or with a server. It knows no source tree.

python try_wheel.py VERSION [--server]
"""

import json
import subprocess
import sys
from pathlib import Path

from vitrine.client import Client, __version__

COMMANDS = Path(sys.executable).parent
HEAVY = ("torch", "onnx", "onnxruntime", "matplotlib")
READY = "vitrine-server listening on "


def main() -> None:
    """Tries what the arguments say; ends with status 1 and a traceback if something isn't as promised."""
    version, with_server = sys.argv[1], "--server" in sys.argv
    check_client(version)
    if with_server:
        check_server(version)
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {python}: {'server with client' if with_server else 'client'} {version} works")


def check_client(version: str) -> None:
    """The version everywhere, light imports, and one sentence for an extra that is missing."""
    assert __version__ == version, __version__
    assert says("vitrine", "--version").endswith(f"version {version}")
    loaded = [name for name in HEAVY if name in sys.modules]
    assert not loaded, loaded
    ended = subprocess.run([COMMANDS / "vitrine-train", "fit"], capture_output=True, text=True)
    assert "pip install 'vitrine-serving[train]'" in ended.stderr, ended.stderr


def check_server(version: str) -> None:
    """The bundled model answers by SDK and command, and the server ends in peace."""
    assert says("vitrine-server", "--version").endswith(f"version {version}")
    command: list[str | Path] = [COMMANDS / "vitrine-server", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            target = server.stdout.readline().removeprefix(READY).strip()
            with Client(target) as client:
                assert client.classify("eight.png").digit == 8
            said = says("vitrine", "classify", "eight.png", "--json", "--target", target)
            assert json.loads(said)["predictions"][0]["label"] == "8"
        finally:
            server.terminate()
    assert server.returncode == 0, server.returncode


def says(command: str, *words: str) -> str:
    """The output of an installed command."""
    ended = subprocess.run([COMMANDS / command, *words], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


if __name__ == "__main__":
    main()
