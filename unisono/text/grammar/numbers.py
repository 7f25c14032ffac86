"""An end to the digits of numbers in JSON, which grammars leave open.

A model that is held to a number may write digits for ever. Behind so many, digits are taken out of
the mask wherever something else may come.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

import numpy as np

MAX_DIGITS = 20
"""Digits of a number before its exponent; 17 are all that one of 64 bits has."""
MAX_EXPONENT_DIGITS = 2
_DIGITS = re.compile(rb"[0-9]*")
_NUMBER_BYTES = frozenset(b"0123456789+-.eE")


class DigitMasks:
    """The tokens of a vocabulary by the digits that they begin with."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.tokens = tokens
        num_digits = np.array([len(_DIGITS.match(token)[0]) for token in tokens])  # type: ignore[index]
        self.most = int(num_digits.max(initial=0))
        self._kept = [self._packed(num_digits <= most) for most in range(self.most)]

    def _packed(self, kept: np.ndarray) -> np.ndarray:
        size = -(-len(kept) // 32) * 32
        padded = np.pad(kept, (0, size - len(kept)))
        return np.packbits(padded, bitorder="little")

    def keep_few(self, most: int, address: int) -> None:
        """Takes tokens that begin with more digits out of the mask at ``address``, unless nothing
        would be left."""
        kept = self._kept[most]
        mask = np.ctypeslib.as_array((ctypes.c_uint8 * len(kept)).from_address(address))
        fewer = mask & kept
        if fewer.any():
            mask[:] = fewer


class NumberReader:
    """Reads JSON, byte by byte, as far as it takes to know how many digits a number has."""

    def __init__(self) -> None:
        self.in_string = False
        self.last = [0] * 256
        """Place of each byte's last occurrence in the string that is open, from 1 on."""
        self._place = 0
        self._is_escaped = False
        self._num_digits = 0
        self._limit = MAX_DIGITS

    def __copy__(self) -> NumberReader:
        other = NumberReader()
        other.__dict__.update(self.__dict__)
        other.last = list(self.last)
        return other

    def read(self, text: bytes) -> None:
        for byte in text:
            self._read(byte)

    def _read(self, byte: int) -> None:
        if self.in_string:
            self.in_string = self._is_escaped or byte != 0x22
            self._is_escaped = byte == 0x5C and not self._is_escaped
            self._place += 1
            self.last[byte] = self._place
        elif 0x30 <= byte <= 0x39:
            self._num_digits += 1
        elif byte in b"eE" and self._num_digits:
            self._num_digits, self._limit = 0, MAX_EXPONENT_DIGITS
        elif byte not in _NUMBER_BYTES:
            self._num_digits, self._limit = 0, MAX_DIGITS
            self.in_string = byte == 0x22
            if self.in_string:
                self.last, self._place = [0] * 256, 0

    @property
    def room(self) -> int:
        """Digits that may still come."""
        return MAX_DIGITS if self.in_string else max(0, self._limit - self._num_digits)
