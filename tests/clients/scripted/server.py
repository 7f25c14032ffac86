"""A server of the scripted model: ``python server.py FOLDER``. Its API process is the real one."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import unisono.server.run as running
from tests.byte_tokenizer import write_byte_tokenizer
from tests.clients.scripted.policy import TEMPLATE
from unisono.server.engine.supervisor import EngineSupervisor
from unisono.server.settings import ServerSettings

COMMAND = (sys.executable, str(Path(__file__).with_name("engine.py")))


def main(folder: Path) -> None:
    write_byte_tokenizer(folder, TEMPLATE)
    running.EngineSupervisor = partial(EngineSupervisor, command=COMMAND)
    settings = ServerSettings(
        model_folder=folder, model_name="scripted", port=0, api_keys=("key-of-the-clients",)
    )
    running.serve(settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
