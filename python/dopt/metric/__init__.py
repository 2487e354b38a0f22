"""A metric of the user's: a Python file with ``evaluate(outputs, labels)``, run on what a model put out."""
