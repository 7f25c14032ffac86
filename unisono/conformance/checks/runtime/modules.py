"""Modules and files as torch treats them, which devices outside its tree get wrong."""

from __future__ import annotations

import copy
import io
from typing import Any

import torch

from unisono.conformance.context import Context
from unisono.conformance.registry import check
from unisono.conformance.reproductions.scripts import expect


def tied_stay_tied(device: torch.device) -> None:
    """Two names for one parameter stay so when the module moves."""
    model: Any = torch.nn.Module()
    model.embedding = torch.nn.Embedding(7, 4)
    model.head = torch.nn.Linear(4, 7, bias=False)
    model.head.weight = model.embedding.weight
    model.to(device)
    first, second = model.embedding.weight, model.head.weight
    expect(first.device.type == device.type, "the module did not move")
    expect(first is second, "tied weights become two parameters on module.to(device)")
    expect(first.data_ptr() == second.data_ptr(), "tied weights get memory of their own")
    expect(len(list(model.parameters())) == 1, "tied weights are counted twice")
    with torch.no_grad():
        first.add_(1.0)
    expect(torch.equal(first.cpu(), second.cpu()), "a change of one does not reach the other")


def tied_step(device: torch.device) -> None:
    """Tied weights are still one after an optimizer step."""
    embedding = torch.nn.Embedding(7, 4)
    head = torch.nn.Linear(4, 7, bias=False)
    head.weight = embedding.weight
    model: Any = torch.nn.Sequential(embedding, head).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.arange(7).to(device)).square().sum().backward()
    optimizer.step()
    same = torch.equal(model[0].weight.detach().cpu(), model[1].weight.detach().cpu())
    expect(same, "tied weights differ after a training step")


def views_share(device: torch.device) -> None:
    """A view and its base are the same memory."""
    x = torch.zeros(4, 6).to(device)
    x[1:3, ::2] += 1
    x.view(-1)[0] = 5
    x.T[5, 3] = 7
    want = torch.zeros(4, 6)
    want[1:3, ::2] += 1
    want.view(-1)[0] = 5
    want.T[5, 3] = 7
    expect(torch.equal(x.cpu(), want), "writing through a view does not reach its base")


@check("runtime.tied_weights", "tied parameters stay one parameter and one memory")
def tied_weights(context: Context) -> None:
    context.probe("module.to(device)", tied_stay_tied)
    context.probe("a training step", tied_step)
    context.probe("views", views_share)


def saved_and_loaded(device: torch.device) -> None:
    """A file that was saved is loaded, on this device and on the host."""
    torch.manual_seed(0)
    tensors = {
        "float32": torch.randn(257, 33),
        "bfloat16": torch.randn(1025).to(torch.bfloat16),
        "int64": torch.arange(77),
        "strided": torch.randn(8, 9)[:, ::2],
        "empty": torch.empty(0, 3),
        "large": torch.randn(1 << 18),
    }
    file = io.BytesIO()
    torch.save({name: x.to(device) for name, x in tensors.items()}, file)
    for where in (device, torch.device("cpu"), None):
        file.seek(0)
        loaded = torch.load(file, map_location=where, weights_only=True)
        for name, x in tensors.items():
            wanted = device.type if where is None else where.type
            expect(loaded[name].device.type == wanted, f"{name} is loaded to {loaded[name].device}")
            expect(
                torch.equal(loaded[name].cpu(), x), f"{name} changes when it is saved and loaded"
            )


def module_state(device: torch.device) -> None:
    """A module's state goes to a file and into another module."""
    torch.manual_seed(0)
    model: Any = torch.nn.Sequential(torch.nn.Linear(9, 5), torch.nn.LayerNorm(5))
    other = copy.deepcopy(model).to(device)
    with torch.no_grad():
        other[0].weight.mul_(2)
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    for name, parameter in other.state_dict().items():
        expect(torch.equal(model.state_dict()[name], parameter.cpu()), f"{name} changes")


@check("runtime.save_load", "torch.save and torch.load bring the same bytes, wherever they go")
def save_load(context: Context) -> None:
    context.probe("tensors", saved_and_loaded)
    context.probe("a module's state", module_state)


def copied_deeply(device: torch.device) -> None:
    """A deep copy is equal, on the same device, and separate."""
    torch.manual_seed(0)
    model: Any = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.ReLU()).to(device)
    twin = copy.deepcopy(model)
    expect(twin[0].weight.device == model[0].weight.device, "the copy lies elsewhere")
    expect(torch.equal(twin[0].weight.cpu(), model[0].weight.cpu()), "the copy differs")
    with torch.no_grad():
        twin[0].weight.zero_()
    expect(bool((model[0].weight != 0).all()), "the copy shares memory with the original")
    expect(twin[0].weight.requires_grad, "the copy has lost requires_grad")


@check("runtime.deepcopy", "copy.deepcopy gives equal and separate memory")
def deep_copies(context: Context) -> None:
    context.probe("a module", copied_deeply)
