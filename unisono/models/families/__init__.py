"""Model families: one file a family or line of families, each of which maps a configuration and
names to shared layers."""
