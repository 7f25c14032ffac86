"""Templates that ask for too much are stopped, and the next request is served."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from tests.waiting import PATIENCE_S
from unisono.core.child import Child
from unisono.core.errors import CheckpointError, HelperFailedError, InvalidRequestError
from unisono.text.templates.process import TemplateLimits, TemplateProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
LIMITS = TemplateLimits(
    max_cpu_s=0.4, max_wall_s=PATIENCE_S, max_memory_bytes=256 << 20, max_output_chars=100_000
)
_DOUBLE = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
ENDLESS = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "power": "{% set x = ask %}{{ (x ** (x ** x)) is odd }}",
    "repeat": "{{ 'a' * (ask * 10000000000) }}",
    "repeat list": "{{ [ask] * 10000000000 }}",
    "concatenation": _DOUBLE + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "block": _DOUBLE + "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "nesting": _DOUBLE + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "format": "{{ '{:>10000000000}'.format(ask) }}",
    "center": "{{ 'a' | center(ask * 10000000000) }}",
    "indent": "{{ [[ask]] | tojson(indent=10000000000) }}",
    "batch": "{{ [ask] | batch(10000000000, 'x') | list }}",
    "output": "{% for i in range(99999) %}0123456789{% endfor %}",
    "printf": "{{ '%10000000000d' % ask }}",
    "lipsum": "{{ lipsum(n=ask * 1000000) }}",
    "word wrap": "{{ ('a ' * 9999999 * ask) | wordwrap(1) | length }}",
    "power of lists": "{{ (range(ask * 9999) | list) * ask * 99999 | length }}",
    "endless recursive loop": "{% for x in [[ask]] recursive %}{{ loop([[x]]) }}{% endfor %}",
    "endless blocks": "{% macro f(x) %}{% call f(x) %}{{ caller }}{% endcall %}"
    "{% endmacro %}{{ f(1) }}",
    "big range": "{% for i in range(ask * 1000000000) %}{% endfor %}",
}


def child_of(process: TemplateProcess) -> Child:
    child = process._program._short._child
    assert child is not None
    return child


@pytest.mark.parametrize("name", ENDLESS)
def test_what_asks_for_too_much_is_stopped(name: str) -> None:
    template = f"{{% if ask %}}{ENDLESS[name]}{{% endif %}}fine"
    process = TemplateProcess(template, LIMITS)
    with pytest.raises(InvalidRequestError, match="chat template"):
        process.render({"ask": 9})
    if name in ("nested loops", "repeat", "output"):
        assert process.render({"ask": 0}) == "fine"


@pytest.mark.parametrize("bomb", ["{{ 'a' * 10 ** 10 }}", "{{ 9 ** (9 ** (9 ** 9)) }}"])
def test_bombs_that_go_off_while_compiling(bomb: str) -> None:
    process = TemplateProcess(bomb, LIMITS)
    with pytest.raises((CheckpointError, InvalidRequestError)):
        process.render({})


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
        "{{ " + "-" * 50_000 + "1 }}",
        "{% if 1 %}" * 2_000 + "{% endif %}" * 2_000,
        "{{ [" * 9_000,
        "{% include 'x' %}{% extends 'y' %}",
        "{% import '/etc/passwd' as secrets %}{{ secrets }}",
        "{{ 1" + " + 1" * 40_000 + " }}",
        "\x00{{ '\x00' }}{{",
    ],
)
def test_malformed_templates(source: str) -> None:
    process = TemplateProcess(source, LIMITS)
    with pytest.raises((CheckpointError, InvalidRequestError), match="chat template"):
        process.render({})


def test_who_does_not_answer_is_waited_for_twice_and_no_longer() -> None:
    """Computing is limited as such: who takes long without it was stopped, or has no processor."""
    limits = TemplateLimits(max_cpu_s=0.02, max_wall_s=0.3)
    process = TemplateProcess("{{ n }}", limits)
    stopped: list[int] = []
    for n in (1, 2):
        assert process.render({"n": n}) == str(n)
        stopped.append(child_of(process).pid)
        os.kill(stopped[-1], signal.SIGSTOP)
    assert process.render({"n": 3}) == "3"
    assert child_of(process).pid not in stopped


class Killer(threading.Thread):
    """Sends a signal to each of the processes that render, while they do."""

    def __init__(self, process: TemplateProcess, sent: signal.Signals, times: int) -> None:
        super().__init__(daemon=True)
        self.process, self.sent, self.times, self.hit = process, sent, times, set[int]()

    def run(self) -> None:
        while len(self.hit) < self.times:
            child = self.process._program._short._child
            if child is not None and child.pid not in self.hit and is_computing(child.pid):
                self.hit.add(child.pid)
                os.kill(child.pid, self.sent)
            time.sleep(0.01)


def is_computing(pid: int) -> bool:
    """True where a process has been at work for longer than its start takes."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[11]) / os.sysconf("SC_CLK_TCK") > 1


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc there")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_who_is_killed_over_every_try_is_no_fault_of_the_request(sent: signal.Signals) -> None:
    limits = TemplateLimits(max_cpu_s=1000, max_wall_s=1000)
    process = TemplateProcess(ENDLESS["nested loops"], limits)
    killer = Killer(process, sent, times=2)
    killer.start()
    with pytest.raises(HelperFailedError, match="killed or does not answer"):
        process.render({})
    killer.join()
    assert len(killer.hit) == 2


def test_one_process_serves_many_calls_and_threads() -> None:
    process = TemplateProcess("{{ n }}|{{ text }}", LIMITS)
    process.start()
    results: dict[int, str] = {}

    def render(n: int) -> None:
        results[n] = process.render({"n": n, "text": "你好\n" * 1000})

    threads = [threading.Thread(target=render, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"{n}|" + "你好\n" * 1000 for n in range(20)}


def test_a_process_that_dies_is_replaced() -> None:
    process = TemplateProcess("{{ n }}", LIMITS)
    assert process.render({"n": 1}) == "1"
    child = child_of(process)
    child.kill()
    child.wait(PATIENCE_S)
    assert process.render({"n": 2}) == "2"


def test_the_process_ends_with_its_owner() -> None:
    process = TemplateProcess("x", LIMITS)
    process.start()
    child = child_of(process)
    del process
    assert child.wait(PATIENCE_S) is not None


def test_secrets_of_the_environment_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_API_KEY", "secret")
    process = TemplateProcess("x", LIMITS)
    process.start()
    child = child_of(process)
    if os.path.exists(f"/proc/{child.pid}/environ"):
        with open(f"/proc/{child.pid}/environ", "rb") as file:
            assert b"secret" not in file.read()
