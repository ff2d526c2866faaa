"""SPEAKS: a process of its own between Discord and the database. Never trades, never reaches an exchange."""
