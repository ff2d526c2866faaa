"""The crash matrix: real processes, killed between any two of their effects (see docs/reliability.md)."""
