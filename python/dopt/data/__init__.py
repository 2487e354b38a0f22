"""Samples: finding them, reading them, turning pictures into tensors. Importing it loads nothing heavy."""
