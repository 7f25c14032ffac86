"""Adapters (LoRA): from PEFT's files to what is added beside a model's linear layers."""
