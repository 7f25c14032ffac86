"""From text to tokens and back. Knows no models, devices or servers; imports no torch."""

from unisono.text.answer import AnswerPart, AnswerStream
from unisono.text.detokenizer import Detokenizer
from unisono.text.stream import TextDelta, TextStream
from unisono.text.tokenizer import Tokenizer

__all__ = ["AnswerPart", "AnswerStream", "Detokenizer", "TextDelta", "TextStream", "Tokenizer"]
