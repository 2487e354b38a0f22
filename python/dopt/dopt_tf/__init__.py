"""The TensorFlow plug-in under the names of the original tool."""
