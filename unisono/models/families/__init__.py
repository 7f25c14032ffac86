"""Model families: one file a family. Each maps a configuration and names to shared layers."""
