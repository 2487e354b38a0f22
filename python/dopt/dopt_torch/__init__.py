"""The PyTorch plug-in under the names of the original tool."""
