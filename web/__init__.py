"""LISTENS: HTTP in, JSON out. Knows desk and trading; never the store, a venue or Discord."""
