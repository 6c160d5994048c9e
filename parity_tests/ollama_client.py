"""A stand-in for Ollama's client: it reads the Modelfile as Ollama does, and answers as told.

Not Ollama: no binary of it comes from a package registry that tests may use. What it says, and
that it exits 0 without a sign-in, is PushHandler's in
https://github.com/ollama/ollama/blob/main/cmd/cmd.go.
"""

import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity_tests.ollama_modelfile import parse_modelfile

RAN, MODE = "ran.jsonl", "mode"
REDRAW = "\x1b[?25l\x1b[2K\x1b[1G"
SAYS: dict[str, tuple[int, str]] = {
    "push signed out": (0, "You need to be signed in to push models to ollama.com.\n\n"),
    "push other namespace": (
        1,
        f"{REDRAW}pushing manifest\nError: you are not authorized to push to this namespace, "
        "create the model under a namespace you own\n",
    ),
    "push broken": (
        1,
        f"{REDRAW}pushing 9f3021197745...  13%\r{REDRAW}pushing 9f3021197745...  14%\n"
        "Error: max retries exceeded: dial tcp 1.2.3.4:443: connect: connection refused\n",
    ),
    "push mute": (0, f"{REDRAW}retrieving manifest\n"),
    "create no server": (1, "Error: could not connect to ollama server, run 'ollama serve'\n"),
    "create refused": (1, "gathering model components\nError: unsupported architecture\n"),
}
"""What it says and exits with in each mode, which a file beside it names."""


@dataclass(frozen=True)
class Client:
    """The stand-in in its folder, which is first on the PATH."""

    folder: Path

    def behave(self, mode: str) -> None:
        """Answer the next calls so: a key of SAYS, or "" for success."""
        (self.folder / MODE).write_text(mode, "utf-8")

    def ran(self) -> list[dict[str, Any]]:
        """Return each call since the last time: its arguments, and the model and the instructions
        that `create` read."""
        path = self.folder / RAN
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


def install_client(folder: Path) -> Client:
    """Write the executable `ollama` into a folder."""
    folder.mkdir()
    path = folder / "ollama"
    root = Path(__file__).parents[1]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from parity_tests.ollama_client import main\n"
        f"main({str(folder)!r}, sys.argv[1:])\n",
        "utf-8",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Client(folder)


def main(folder: str, arguments: list[str]) -> None:
    """Note the call, then answer it."""
    call: dict[str, Any] = {"arguments": arguments}
    if arguments[0] == "create":
        flag, modelfile = arguments[2:]
        assert flag == "-f"
        read = parse_modelfile(Path(modelfile).read_text("utf-8"))
        call["instructions"] = [[one.name, one.value] for one in read]
        (source,) = [one.value for one in read if one.name == "from"]
        call["model"] = str((Path(modelfile).parent / source).resolve(strict=True))
    with (Path(folder) / RAN).open("a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
    mode = Path(folder) / MODE
    found = SAYS.get(mode.read_text("utf-8") if mode.is_file() else "")
    if found is not None and mode.read_text("utf-8").startswith(arguments[0]):
        code, said = found
    elif arguments[0] == "push":
        address = f"https://ollama.com/{arguments[1].removesuffix(':latest')}"
        code, said = 0, f"{REDRAW}success \n\nYou can find your model at:\n\n\t{address}\n"
    else:
        code, said = 0, f"{REDRAW}writing manifest \nsuccess \n"
    os.write(2 if code else 1, said.encode())
    sys.exit(code)
