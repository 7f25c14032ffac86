"""From text to tokens and back. Knows no models, devices or servers; imports no torch."""

from unisono.text.answer import Answer, AnswerDelta, AnswerStream
from unisono.text.detokenizer import Detokenizer
from unisono.text.parts import Content, Reasoning, ToolCall
from unisono.text.stream import TextDelta, TextStream
from unisono.text.tokenizer import Tokenizer

__all__ = [
    "Answer",
    "AnswerDelta",
    "AnswerStream",
    "Content",
    "Detokenizer",
    "Reasoning",
    "TextDelta",
    "TextStream",
    "Tokenizer",
    "ToolCall",
]
