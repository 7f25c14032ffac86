"""The letters that byte-level BPE writes bytes with (Radford et al. 2019, GPT-2)."""

from __future__ import annotations

__all__ = ["BYTE_OF_LETTER", "LETTER_OF_BYTE"]


def _byte_alphabet() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTE_OF_LETTER = _byte_alphabet()
LETTER_OF_BYTE = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
