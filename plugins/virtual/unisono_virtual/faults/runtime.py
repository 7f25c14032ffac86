"""Memory, streams, generators, copies: faults of the compiled device itself."""

from __future__ import annotations

from unisono_virtual.faults.registry import planted_natively

for _name, _description in {
    "memory_leak": "Every 50th block that is freed is forgotten.",
    "memory_misreported": "What is allocated never falls, and the total is 0.",
    "oom_not_recovered": "After one allocation that did not fit, all fail.",
    "oom_wrong_error": "A full memory is a plain RuntimeError, so no one can tell it from others.",
    "late_nonblocking_copy": "A non-blocking copy is done at the next op of its stream; to "
    "synchronize is not enough.",
    "event_elapsed_zero": "No time passes between two events.",
    "event_sync_noop": "Waiting for an event returns at once: a copy before it is not done.",
    "wait_event_ignored": "A stream told to wait for an event of another does not.",
    "generator_ignores_seed": "The same seed gives other numbers.",
    "rng_state_not_restored": "A generator's state can be read, and setting it does nothing.",
    "pinned_lies": "Pinned memory is not pinned.",
    "tied_weights_untied": "Weights that are one tensor are two after a module moved.",
    "save_load_corrupts": "A bit of the bytes that are copied to the host for saving is flipped.",
}.items():
    planted_natively(_name, _description)
