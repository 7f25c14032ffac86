"""Checks what torch expects of a device, in one process. Prints JSON: {check: error or ""}."""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import unisono_virtual
from torch import Tensor, nn
from torch.utils import checkpoint
from torch.utils.data import DataLoader, TensorDataset

D = "virtual"
accelerator = torch.accelerator
CHECKS: dict[str, Callable[[], None]] = {}


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


def raises(kind: type[Exception], function: Callable[[], Any]) -> str:
    try:
        function()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def same(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    expected, got = function(*inputs), function(*(x.to(D) for x in inputs))
    assert got.device.type == D
    assert torch.equal(got.cpu(), expected), (got.cpu(), expected)


def same_gradients(module: nn.Module, x: Tensor) -> None:
    """Output and gradients of a module, bit by bit."""
    moved = copy.deepcopy(module).to(D)
    results = []
    for each, given in ((module, x.clone()), (moved, x.to(D))):
        out = each(given.requires_grad_())
        out.square().sum().backward()
        results.append([out, given.grad, *(p.grad for p in each.parameters())])
    for expected, got in zip(*results, strict=True):
        assert torch.equal(got.cpu(), expected), type(module)


# -- making and viewing -------------------------------------------------------------------------


@check
def is_the_accelerator() -> None:
    assert accelerator.is_available()
    assert str(accelerator.current_accelerator()) == D
    assert accelerator.device_count() == 2
    assert torch.ones(1, device=D).is_virtual


@check
def factories() -> None:
    for make in (torch.zeros, torch.ones, torch.rand, torch.randn, torch.empty):
        assert make(3, 3, device=D).shape == (3, 3)
    assert torch.arange(4, device=D).tolist() == [0, 1, 2, 3]
    assert torch.full((2,), 7, device=D).tolist() == [7, 7]
    assert torch.eye(2, device=D).sum() == 2
    assert torch.randperm(9, device=D).sort().values.tolist() == list(range(9))
    assert torch.randint(0, 3, (50,), device=D).amax() <= 2
    assert torch.linspace(0, 1, 3, device=D).tolist() == [0, 0.5, 1]


@check
def views_share_memory() -> None:
    x = torch.zeros(4, 6, device=D)
    x[1:3, ::2].add_(1)
    x.transpose(0, 1)[2].mul_(5)
    assert x.sum() == 4 + 2 * 5
    assert x.view(2, 12).data_ptr() == x.data_ptr()
    assert torch.view_as_complex(x.view(4, 3, 2)).shape == (4, 3)
    assert x.unfold(1, 2, 2).shape == (4, 3, 2)
    assert x.view(torch.int32).dtype == torch.int32


@check
def large_zeros_are_zero() -> None:
    x = torch.ones(40 << 20, device=D)
    x[5:-7].zero_()
    assert x.sum() == 12


@check
def indexing() -> None:
    x, rows = torch.randn(5, 6), torch.tensor([0, 2])
    same(lambda x, rows: x[rows], x, rows)
    same(lambda x: x[x > 0], x)
    same(lambda x, rows: x.index_copy(0, rows, x[:2] * 2), x, rows)
    same(lambda x: x.scatter(1, (x > 0).long(), 9.0), x)
    same(lambda x: torch.where(x > 0, x, 0.0).nonzero(), x)
    assert x.to(D)[rows].shape == (2, 6)  # indices of the host are welcome, as on other devices


@check
def choosing() -> None:
    x = torch.randn(4, 50)
    for choose in (
        lambda x: x.topk(5).indices,
        lambda x: x.sort(stable=True).indices,
        lambda x: x.argmax(-1),
        lambda x: x.cumsum(-1),
        lambda x: x.unique(),
        lambda x: x.max(0).values,
    ):
        same(choose, x)


@check
def out_arguments() -> None:
    x = torch.randn(3, 4, device=D)
    out = torch.empty(0, device=D)
    torch.add(x, x, out=out)
    assert torch.equal(out.cpu(), x.cpu() * 2)
    values, where = torch.empty(0, device=D), torch.empty(0, dtype=torch.long, device=D)
    torch.max(x, 0, out=(values, where))
    assert where.shape == (4,)


@check
def resizing() -> None:
    x = torch.arange(4.0, device=D)
    x.resize_(8)
    assert x[:4].tolist() == [0, 1, 2, 3]
    storage = x.untyped_storage()
    storage.resize_(0)
    assert storage.nbytes() == 0
    x.set_()
    x.set_(torch.ones(3, device=D))
    assert x.tolist() == [1, 1, 1]


@check
def devices_do_not_mix() -> None:
    x = torch.ones(3, device=D)
    for mix in (
        lambda: x + torch.ones(3),
        lambda: x + torch.ones(3, device="virtual:1"),
        lambda: torch.cat([x, torch.ones(3)]),
        lambda: F.embedding(torch.zeros(2, dtype=torch.long), torch.ones(2, 2, device=D)),
    ):
        assert "same device" in raises(RuntimeError, mix)
    assert (x + torch.tensor(1.0)).tolist() == [2, 2, 2]


@check
def numpy_is_refused() -> None:
    raises(TypeError, torch.ones(2, device=D).numpy)


# -- training -----------------------------------------------------------------------------------


@check
def autograd_matches() -> None:
    def work(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (x.exp() @ x).softmax(-1).log().sum().backward()
        assert x.grad is not None
        return x.grad

    same(work, torch.randn(4, 4))
    double = torch.randn(3, device=D, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: (x * x).tanh(), double)


@check
def modules_match() -> None:
    image = torch.randn(2, 4, 8, 8)
    for module in (
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.ConvTranspose2d(4, 3, 3),
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.LayerNorm([4, 8, 8]),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.SiLU(),
        nn.GELU(),
    ):
        same_gradients(module, image)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0, batch_first=True)
    same_gradients(layer, torch.randn(2, 5, 16))


@check
def lstm_is_refused() -> None:
    for module in (nn.LSTM(3, 4), nn.GRU(3, 4), nn.LSTMCell(3, 4)):
        cell = module.to(D)
        message = raises(NotImplementedError, lambda cell=cell: cell(torch.randn(2, 3, device=D)))
        assert "virtual device cannot run aten::_thnn_fused" in message


@check
def optimizers_match() -> None:
    options: list[tuple[Any, dict[str, Any]]] = [
        (torch.optim.AdamW, {}),
        (torch.optim.AdamW, {"foreach": True}),
        (torch.optim.AdamW, {"fused": True}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.Adagrad, {}),
    ]
    for kind, kwargs in options:
        host = nn.Linear(4, 4)
        ours = copy.deepcopy(host).to(D)
        for module in (host, ours):
            optimizer = kind(module.parameters(), lr=0.1, **kwargs)
            for _ in range(3):
                optimizer.zero_grad()
                x = torch.ones(2, 4, device=next(module.parameters()).device)
                module(x).sum().backward()
                optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        torch.testing.assert_close(ours.weight.cpu(), host.weight)


@check
def attention_matches() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for causal in (False, True):

            def attend(x: Tensor, causal: bool = causal) -> Tensor:
                x = x.clone().requires_grad_()
                out = F.scaled_dot_product_attention(x, x * 2, x + 1, is_causal=causal)
                out.sum().backward()
                assert x.grad is not None
                return torch.stack((out.detach(), x.grad))

            same(attend, torch.randn(2, 4, 8, 16, dtype=dtype))


@check
def attention_with_masks_and_groups() -> None:
    q, kv, mask = torch.randn(2, 4, 8, 16), torch.randn(2, 2, 8, 16), torch.randn(8, 8)
    same(lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), q, mask)
    same(lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), q, kv)
    learned = mask.to(D).requires_grad_()
    F.scaled_dot_product_attention(q.to(D), q.to(D), q.to(D), attn_mask=learned).sum().backward()
    assert learned.grad is not None


@check
def checkpointing() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).to(D)
    for reentrant in (False, True):
        x = torch.randn(3, 3, device=D, requires_grad=True)
        out = checkpoint.checkpoint(module, x, use_reentrant=reentrant)
        out.sum().backward()
        kept = (out != 0).any(0).cpu()
        assert x.grad is not None
        assert kept.any()


@check
def autocast_casts() -> None:
    linear, x = nn.Linear(4, 4).to(D), torch.randn(2, 4, device=D)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(D, dtype=dtype):
            low = linear(x)
            assert low.dtype == dtype
            assert low.softmax(-1).dtype == torch.float32
            assert low.sum(dtype=dtype).dtype == dtype
            assert F.layer_norm(low, (4,)).dtype == torch.float32
            assert torch.addcmul(x, low, low).dtype == torch.float32
            low.float().sum().backward()
            raises(RuntimeError, lambda: F.binary_cross_entropy(x.sigmoid(), x.sigmoid()))
    assert linear(x).dtype == torch.float32


@check
def grad_scaler() -> None:
    linear = nn.Linear(4, 4).to(D)
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(D)
    before = linear.weight.detach().clone()
    scaler.scale(linear(torch.ones(2, 4, device=D)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert not torch.equal(linear.weight, before)


@check
def losses_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, classes = torch.randn(4, 5), torch.randint(0, 5, (4,))
        same(F.cross_entropy, x, classes)
        same(F.mse_loss, x, x + 1)
        same(F.smooth_l1_loss, x, x + 1)
        same(F.binary_cross_entropy_with_logits, x, (x > 0).float())


# -- storing ------------------------------------------------------------------------------------


@check
def save_and_load() -> None:
    file, x = io.BytesIO(), torch.randn(5, device=D)
    torch.save({"whole": x, "part": x[1:]}, file)
    for place in (None, "cpu", "virtual:1", {"virtual:0": "virtual:1"}):
        file.seek(0)
        loaded = torch.load(file, map_location=place)
        assert torch.equal(loaded["whole"].cpu(), x.cpu())
        first, second = (loaded[key].untyped_storage() for key in ("whole", "part"))
        assert first.data_ptr() == second.data_ptr()


@check
def copies_are_copies() -> None:
    x = torch.randn(5, device=D)
    for other in (copy.deepcopy(x), x.clone(), pickle.loads(pickle.dumps(x))):  # noqa: S301
        assert torch.equal(other, x)
        assert other.data_ptr() != x.data_ptr()
    assert (
        torch.equal(copy.deepcopy(nn.Linear(2, 2).to(D)).weight.cpu(), torch.zeros(2, 2)) is False
    )


@check
def tied_weights_stay_tied() -> None:
    embedding, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    model = nn.ModuleList([embedding, head])
    for place in (D, "cpu", "virtual:1"):
        model.to(place)
        assert embedding.weight is head.weight


@check
def devices_exchange() -> None:
    x = torch.arange(5.0, device="virtual:0").to("virtual:1")
    assert x.device.index == 1
    assert x.tolist() == [0, 1, 2, 3, 4]
    x.to("virtual:0", non_blocking=True)


# -- the runtime --------------------------------------------------------------------------------


@check
def current_device() -> None:
    module: Any = torch.get_device_module(D)
    for context in (module.device(1), accelerator.device_index(1)):
        with context:
            assert module.current_device() == accelerator.current_device_index() == 1
            assert torch.ones(1, device=D).device.index == 1
        assert module.current_device() == 0
    with torch.device("virtual:1"):
        assert torch.ones(1).device.index == 1
    assert "no virtual device 5" in raises(RuntimeError, lambda: torch.ones(1, device="virtual:5"))


@check
def capability_and_names() -> None:
    module: Any = torch.get_device_module(D)
    assert torch.bfloat16 in accelerator.get_device_capability()["supported_dtypes"]
    assert module.get_device_properties(0).total_memory == 1 << 30
    assert module.get_device_name(1) == "virtual accelerator"


@check
def memory_is_counted() -> None:
    accelerator.empty_cache()
    before, reserved = accelerator.memory_allocated(), accelerator.memory_reserved()
    free, total = accelerator.get_memory_info()
    assert total == 1 << 30
    x = torch.empty(64 << 20, dtype=torch.uint8, device=D)
    assert accelerator.memory_allocated() == before + x.nbytes
    assert accelerator.get_memory_info()[0] <= free - x.nbytes
    accelerator.reset_peak_memory_stats()
    del x
    assert accelerator.memory_allocated() == before
    assert accelerator.max_memory_allocated() == before + (64 << 20)
    assert accelerator.memory_reserved() >= reserved + (64 << 20)
    accelerator.empty_cache()
    assert accelerator.memory_reserved() <= reserved
    accelerator.reset_accumulated_memory_stats()
    assert accelerator.memory_stats()["num_ooms"] >= 0
    getattr(accelerator, "empty_host_cache", lambda: None)()


@check
def empty_cache_gives_pages_back() -> None:
    def held() -> int:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssShmem"))

    x = torch.ones(64 << 18, device=D)
    full = held()
    del x
    assert held() >= full - 1024
    accelerator.empty_cache()
    assert held() < full - (60 << 10)


@check
def out_of_memory_and_recovery() -> None:
    one = 1 << 20
    message = raises(torch.OutOfMemoryError, lambda: torch.empty(2048 * one, device=D))
    assert "out of memory" in message
    kept = []
    for _ in range(9):
        kept.append(torch.empty(100 * one, dtype=torch.uint8, device=D))
    raises(torch.OutOfMemoryError, lambda: torch.empty(200 * one, dtype=torch.uint8, device=D))
    kept.clear()
    assert torch.zeros(900 * one, dtype=torch.uint8, device=D)[-1] == 0


@check
def streams_and_events() -> None:
    module: Any = torch.get_device_module(D)
    side = torch.Stream(D)
    first, last = (torch.Event(D, enable_timing=True) for _ in range(2))
    first.record()
    with side:
        assert accelerator.current_stream() == side
        torch.ones(100, 100, device=D) @ torch.ones(100, 100, device=D)
    last.record(side)
    last.synchronize()
    assert first.elapsed_time(last) > 0
    assert first.query()
    with module.stream(module.Stream()) as other:
        assert module.current_stream() == other
        other.wait_stream(side)
    assert module.current_stream() == module.default_stream()
    torch.ones(1, device=D).record_stream(side)


@check
def pinned_memory() -> None:
    x = torch.ones(5).pin_memory()
    assert x.is_pinned()
    assert x[2:].is_pinned()
    assert torch.empty(4, pin_memory=True).is_pinned()
    assert not torch.ones(5).is_pinned()
    assert not x.to(D).is_pinned()
    for batch in DataLoader(TensorDataset(torch.arange(6)), batch_size=2, pin_memory=True):
        assert batch[0].is_pinned()


@check
def copies_to_the_host_come_when_waited_for() -> None:
    host = torch.zeros(4).pin_memory()
    source = torch.ones(4, device=D)
    for wait in (accelerator.synchronize, accelerator.current_stream().synchronize):
        host.zero_()
        host.copy_(source, non_blocking=True)
        assert host.sum() == 0
        wait()
        assert host.sum() == 4


@check
def copies_to_the_device_keep_the_order_of_streams() -> None:
    side, host, to = torch.Stream(D), torch.ones(4).pin_memory(), torch.zeros(4, device=D)
    with side:
        to.copy_(host, non_blocking=True)
    assert (to + 0).sum() == 0
    accelerator.current_stream().wait_stream(side)
    assert (to + 0).sum() == 4


@check
def generators() -> None:
    module: Any = torch.get_device_module(D)
    torch.manual_seed(3)
    first = torch.randn(4, device=D)
    torch.manual_seed(3)
    assert torch.equal(first, torch.randn(4, device=D))
    torch.manual_seed(3)
    assert torch.equal(first.cpu(), torch.randn(4))
    state = module.get_rng_state()
    drawn = torch.rand(3, device=D)
    module.set_rng_state(state)
    assert torch.equal(drawn, torch.rand(3, device=D))
    with torch.random.fork_rng([0], device_type=D):
        torch.rand(3, device=D)


@check
def generators_of_ones_own() -> None:
    own = torch.Generator(D).manual_seed(5)
    assert own.device.type == D
    state = own.get_state()
    drawn = torch.rand(3, device=D, generator=own)
    own.set_state(state)
    assert torch.equal(drawn, torch.rand(3, device=D, generator=own))
    raises(RuntimeError, lambda: torch.rand(3, device=D, generator=torch.Generator()))


@check
def generators_are_per_device() -> None:
    torch.manual_seed(1)
    first = torch.rand(3, device="virtual:0")
    assert torch.equal(first.cpu(), torch.rand(3, device="virtual:1").cpu())


@check
def profiler_sees_ops() -> None:
    kinds = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds, profile_memory=True) as profile:
        torch.ones(3, 3, device=D) @ torch.ones(3, 3, device=D)
    assert any("mm" in event.key for event in profile.key_averages())


def compiles_with(backend: str) -> None:
    def work(x: Tensor) -> Tensor:
        return (x.sin() + x.cos()).sum() * 2

    torch._dynamo.reset()
    x = torch.randn(5, device=D, requires_grad=True)
    out = torch.compile(work, backend=backend)(x)
    torch.testing.assert_close(out, work(x))
    out.backward()
    assert x.grad is not None


@check
def compiles_eager() -> None:
    compiles_with("eager")


@check
def compiles_aot_eager() -> None:
    compiles_with("aot_eager")


@check
def compiles_virtual() -> None:
    before = unisono_virtual.op_totals()["sin"].calls
    compiles_with("virtual")
    assert unisono_virtual.op_totals()["sin"].calls > before


@check
def linear_algebra_and_fourier() -> None:
    one = torch.eye(4, device=D)
    x = torch.randn(4, 4, device=D) + 10 * one  # far from singular, whatever is drawn
    assert torch.allclose(torch.linalg.inv(x) @ x, one, atol=1e-5)
    assert torch.linalg.svd(x).S.shape == (4,)
    assert torch.fft.irfft(torch.fft.rfft(x)).shape == (4, 4)
    assert torch.allclose(torch.fft.ifft(torch.fft.fft(x)).real, x, atol=1e-5)
    assert torch.einsum("ij,kj->ik", x, x).shape == (4, 4)


@check
def functional_transforms() -> None:
    x = torch.arange(3.0, device=D)
    assert torch.vmap(lambda x: x * 2)(x).tolist() == [0, 2, 4]
    assert torch.func.grad(lambda x: (x**2).sum())(x).tolist() == [0, 2, 4]


@check
def low_precision_casts() -> None:
    same(lambda x: x.to(torch.float8_e4m3fn).float(), torch.randn(9))
    same(lambda x: x.bfloat16().float(), torch.randn(9))


@check
def packed_sequences() -> None:
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 2, 4, device=D), torch.tensor([3, 2]))
    assert packed.data.device.type == D
    assert packed.batch_sizes.device.type == "cpu"


def main() -> None:
    torch.set_num_threads(1)
    unisono_virtual.install(memory_bytes=1 << 30)
    results = {}
    for name, function in CHECKS.items():
        torch.manual_seed(0)
        try:
            function()
            results[name] = ""
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
