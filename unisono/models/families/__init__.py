"""Model families: one file a family or line of families. Each maps a configuration and names to shared layers."""
