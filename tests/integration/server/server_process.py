"""A tiny random model with a byte-level tokenizer, and servers in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.byte_tokenizer import write_byte_tokenizer
from tests.waiting import PATIENCE_S

MODEL_NAME = "tiny"
KEY = "test-key-0123456789"
CONTEXT = 512
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer(folder: Path) -> int:
    """Every byte is a token, and there are three special ones."""
    return write_byte_tokenizer(folder, CHAT_TEMPLATE)


def write_model(folder: Path, vocab_size: int, *, layers: int = 2, hidden: int = 64) -> None:
    """A checkpoint of random weights in Qwen3's shape."""
    import torch
    from safetensors.torch import save_file

    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "eos_token_id": vocab_size - 1,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "hidden_act": "silu",
        "torch_dtype": "float32",
    }
    shapes = {"model.embed_tokens.weight": (vocab_size, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        names = {
            "self_attn.q_proj": (64, hidden),
            "self_attn.k_proj": (32, hidden),
            "self_attn.v_proj": (32, hidden),
            "self_attn.o_proj": (hidden, 64),
            "self_attn.q_norm": (16,),
            "self_attn.k_norm": (16,),
            "mlp.gate_proj": (2 * hidden, hidden),
            "mlp.up_proj": (2 * hidden, hidden),
            "mlp.down_proj": (hidden, 2 * hidden),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": size for name, size in names.items()}
    random = torch.Generator().manual_seed(0)
    weights = {
        name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=random) * 0.1
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@dataclass
class RunningServer:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    base_url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1])

    def client(self, key: str | None = KEY) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=PATIENCE_S)

    def engine_pid(self) -> int:
        """The server's only child that runs the engine."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in children.split():
            if b"unisono.server.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        raise AssertionError("no engine process")

    def is_idle(self) -> bool:
        """True where the server waits: whatever was written to it has gone where it belongs."""
        threads = Path(f"/proc/{self.process.pid}/task")
        states = (
            (thread / "stat").read_text().rpartition(")")[2].split()[0]
            for _ in range(2)  # one may wake another that was seen asleep
            for thread in threads.iterdir()
        )
        return all(state == "S" for state in states)

    def kill_engine(self) -> None:
        os.kill(self.engine_pid(), signal.SIGKILL)

    def stop(self, sig: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout_s)


PROGRAM = """
import sys
from pathlib import Path
from unisono.core import EngineConfig
from unisono.server import Limits, ServerSettings, serve
from unisono.hub.model_role import read_role
options = eval(sys.argv[2])
if task := options.pop("task", None):
    options["role"] = read_role(Path(sys.argv[1]), task)
    options["engine"] = {"task": options["role"].task, **options.get("engine", {})}
limits = Limits(**options.pop("limits", {}))
options["adapters"] = tuple((n, Path(p)) for n, p in options.get("adapters", ()))
if "adapters_dir" in options:
    options["adapters_dir"] = Path(options["adapters_dir"])
engine = EngineConfig(**{"dtype": "float32", "kv_memory": 1 << 24, **options.pop("engine", {})})
serve(ServerSettings(
    model_folder=Path(sys.argv[1]), port=0, engine=engine, limits=limits,
    **{"model_name": "tiny", "api_keys": ("test-key-0123456789",), **options},
))
"""


def start_server(folder: Path, log: Path, **options: object) -> RunningServer:
    """Starts a server with ``options`` of ``ServerSettings``, and a ``task``; returns when it is
    ready."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), repr(options)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    found = re.search(r"on (http://\S+)", line)
    if not found:
        process.kill()
        raise AssertionError(f"the server said {line!r}\n{log.read_text()}")
    return RunningServer(process, found[1], log)
