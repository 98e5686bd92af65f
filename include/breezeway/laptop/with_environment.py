"""Become another program, with the environment of a file and nothing else of one.

    python -m breezeway.laptop.with_environment FILE COMMAND [WORD …]

supervisord gives its own environment to each program, and reads variables from a configuration in
which not every value can be written.
"""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn


def main(words: list[str]) -> NoReturn:
    file, *command = words
    environment = json.loads(Path(file).read_text(encoding="utf-8"))
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
