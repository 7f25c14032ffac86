"""A vocabulary in which every byte is a token, for constraints; the last token ends an answer."""

from __future__ import annotations

from unisono.core.constraint import Constraint
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import ConstraintFailedError
from unisono.text.grammar.vocabulary import Vocabulary

END = 256
BYTES = Vocabulary((*(bytes([byte]) for byte in range(256)), b"<end>"), (END,))


def byte_compiler() -> GrammarCompiler:
    return GrammarCompiler(lambda: BYTES, END + 1, [END])


def takes(compiler: GrammarCompiler, constraint: Constraint, text: str) -> bool:
    """True where the constraint allows the text, and allows it to end there."""
    found = compiler.matcher(constraint)
    try:
        found.advance(list(text.encode()))
    except ConstraintFailedError:
        return False
    return found.may_end
