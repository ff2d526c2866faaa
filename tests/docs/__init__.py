"""The documents: what is made of code, and what holds the rest against it. `python -m tests.docs` writes."""
