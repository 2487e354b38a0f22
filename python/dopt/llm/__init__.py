"""Language models: 4-bit weights, 16-bit activations."""
