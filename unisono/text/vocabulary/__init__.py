"""Vocabularies: SentencePiece, tiktoken, tekken and GGUF as native tokenizers."""
