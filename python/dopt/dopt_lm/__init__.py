"""The original tool's name for quantizing transformers inside of a program."""
