"""Trains the network on CPU threads in bfloat16 and writes an ordinary checkpoint folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from .batches import Batch, training_batches
from .vocabulary import END_OF_TEXT, MAX_LENGTH, TURN_END

_WARMUP_STEPS = 100
_DECAY_SHARE = 0.6
_FINAL_RATE_SHARE = 0.02
_REPORT_EVERY = 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 1
    steps: int = 4000
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    num_threads: int = 2
    checkpoint_every: int = 250


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """The cost of the training."""

    steps: int
    num_tokens: int
    seconds: float
    cpu_seconds: float
    final_loss: float


def new_network(tokenizer: Tokenizer) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(TURN_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )
    network = Qwen3ForCausalLM(config)
    network.set_attn_implementation("eager")  # for short rows faster than the fused CPU kernel
    return network


def shape_of(config: Qwen3Config) -> str:
    return (
        f"Qwen3, {config.num_hidden_layers} layers, hidden {config.hidden_size}, "
        f"{config.num_attention_heads} heads ({config.num_key_value_heads} for keys and values) "
        f"of {config.head_dim}, vocabulary {config.vocab_size:,}, tied embeddings"
    )


def loss_of(network: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean of the cross entropy at the positions that the batch marks."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = network.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        logits = network.lm_head(hidden.flatten(0, 1)[batch.positions])
    losses = cross_entropy(logits.float(), batch.targets, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum()


def _rate_share(step: int, steps: int) -> float:
    """Linear warm-up, constant, then linear decay to a small share in the last part."""
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    left = (steps - step) / (_DECAY_SHARE * steps)
    return warmup * min(1.0, max(_FINAL_RATE_SHARE, left))


def save_network(network: Qwen3ForCausalLM, folder: Path) -> None:
    """Writes config.json, generation_config.json and model.safetensors (bfloat16)."""
    copy = Qwen3ForCausalLM(network.config)
    copy.load_state_dict(network.state_dict())
    copy.bfloat16()
    copy.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=network.config.eos_token_id,
        pad_token_id=network.config.pad_token_id,
        max_new_tokens=256,
    )
    copy.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def _optimizers_for(network: Qwen3ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for p in network.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


class Trainer:
    """One training run."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, report: Callable[[str], None]) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.num_threads)
        self._recipe = recipe
        self._report = report
        self._batches = training_batches(tokenizer, recipe.seed)
        self.network = new_network(tokenizer)
        self._optimizers = _optimizers_for(self.network, recipe)

    def train(self, folder: Path) -> TrainingLog:
        start, cpu_start = time.monotonic(), time.process_time()
        num_tokens, mean_loss = 0, 0.0
        for step in range(self._recipe.steps):
            batch = next(self._batches)
            loss = self._step(step, batch)
            num_tokens += batch.num_tokens
            mean_loss = loss if step == 0 else 0.95 * mean_loss + 0.05 * loss
            if step % _REPORT_EVERY == 0:
                self._report_progress(step, mean_loss, num_tokens, time.monotonic() - start)
            if (step + 1) % self._recipe.checkpoint_every == 0:
                save_network(self.network, folder)
        save_network(self.network, folder)
        return TrainingLog(
            steps=self._recipe.steps,
            num_tokens=num_tokens,
            seconds=time.monotonic() - start,
            cpu_seconds=time.process_time() - cpu_start,
            final_loss=mean_loss,
        )

    def _step(self, step: int, batch: Batch) -> float:
        rate = self._recipe.learning_rate * _rate_share(step, self._recipe.steps)
        loss = loss_of(self.network, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _report_progress(self, step: int, loss: float, tokens: int, seconds: float) -> None:
        left = seconds / (step + 1) * (self._recipe.steps - step - 1)
        self._report(
            f"step {step + 1}/{self._recipe.steps}  loss {loss:.4f}  "
            f"{tokens / seconds:,.0f} tokens/s  {left / 60:.1f} min left"
        )
