"""The device's random numbers: the same seed, the same numbers, and nobody else's disturbed."""

from __future__ import annotations

import torch

from unisono.conformance.context import Context
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.conformance.reproductions.scripts import expect


def same_seed(device: torch.device) -> None:
    """A seed fixes the numbers."""

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.randn(1001, device=device).cpu()

    first = draw(1)
    expect(torch.equal(first, draw(1)), "the same seed gives other numbers")
    expect(not torch.equal(first, draw(2)), "another seed gives the same numbers")
    torch.manual_seed(1)
    pair = [torch.randn(1001, device=device).cpu() for _ in range(2)]
    expect(not torch.equal(*pair), "two draws in a row are the same")


def own_generator(device: torch.device) -> None:
    """A generator of one's own is reproducible, and leaves the default one alone."""

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator(device).manual_seed(seed)
        return torch.rand(1001, device=device, generator=generator).cpu()

    expect(torch.equal(draw(5), draw(5)), "the same generator seed gives other numbers")
    expect(not torch.equal(draw(5), draw(6)), "another generator seed gives the same numbers")
    torch.manual_seed(3)
    want = torch.rand(100, device=device).cpu()
    torch.manual_seed(3)
    draw(7)
    same = torch.equal(torch.rand(100, device=device).cpu(), want)
    expect(same, "drawing from an own generator disturbs the default one")


def host_undisturbed(device: torch.device) -> None:
    """Drawing on the device leaves the host's generator alone."""
    if device.type == "cpu":
        return
    torch.manual_seed(3)
    want = torch.rand(10)
    torch.manual_seed(3)
    torch.rand(1000, device=device)
    expect(torch.equal(torch.rand(10), want), "drawing on the device disturbs the host's numbers")


def distributions(device: torch.device) -> None:
    """Means and spreads are those of the distribution, to six standard errors."""
    torch.manual_seed(0)
    count = 200_000
    x = torch.rand(count, device=device).cpu().double()
    expect(bool(((x >= 0) & (x < 1)).all()), "rand leaves [0, 1)")
    expect(abs(float(x.mean()) - 0.5) < 6 * (1 / 12 / count) ** 0.5, "the mean of rand is wrong")
    x = torch.randn(count, device=device).cpu().double()
    expect(abs(float(x.mean())) < 6 / count**0.5, "the mean of randn is wrong")
    expect(abs(float(x.var()) - 1) < 6 * (2 / count) ** 0.5, "the variance of randn is wrong")
    x = torch.randint(0, 10, (count,), device=device).cpu()
    expect(set(x.tolist()) == set(range(10)), "randint leaves out numbers, or invents them")
    expect(x.dtype == torch.int64, f"randint gives {x.dtype}")


@check("runtime.random", "seeds fix the numbers; generators do not disturb one another")
def seeds(context: Context) -> None:
    context.probe("the same seed", same_seed)
    context.probe("a generator of one's own", own_generator)
    context.probe("the host's generator", host_undisturbed)
    context.probe("distributions", distributions)
    with context.case("Hardware.seed"):
        drawn = []
        for seed in (9, 9, 10):
            context.hardware.seed(seed)
            drawn.append(torch.rand(100, device=context.device).cpu())
        if not torch.equal(drawn[0], drawn[1]) or torch.equal(drawn[0], drawn[2]):
            raise Mismatch("Hardware.seed does not fix the numbers")


def state_restored(device: torch.device) -> None:
    """A state that is put back gives the same numbers again."""
    module = torch if device.type == "cpu" else torch.get_device_module(device.type)
    torch.manual_seed(1)
    torch.rand(17, device=device)
    state = module.get_rng_state()
    first = torch.rand(1001, device=device).cpu()
    torch.rand(5, device=device)
    module.set_rng_state(state)
    again = torch.rand(1001, device=device).cpu()
    expect(torch.equal(first, again), "the restored state gives other numbers")


def generator_state(device: torch.device) -> None:
    """The state of a generator, too."""
    generator = torch.Generator(device).manual_seed(4)
    torch.rand(7, device=device, generator=generator)
    state = generator.get_state()
    first = torch.rand(101, device=device, generator=generator).cpu()
    generator.set_state(state)
    again = torch.rand(101, device=device, generator=generator).cpu()
    expect(torch.equal(first, again), "the restored state of a generator gives other numbers")


@check(
    "runtime.random_state", "the state of random numbers can be kept and put back", optional=True
)
def random_state(context: Context) -> None:
    for words, probe in (
        ("the default generator", state_restored),
        ("a generator", generator_state),
    ):
        try:
            context.probe(words, probe, optional=True)
        except AttributeError as error:
            raise Mismatch(str(error)) from error
