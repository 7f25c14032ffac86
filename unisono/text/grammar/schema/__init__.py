"""JSON Schemas in the form that llguidance enforces exactly."""
