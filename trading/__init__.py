"""THINKS: what an alert means, how much to trade, which orders follow, what a report changes.

Decimal and frozen dataclasses in, new frozen objects out. It must never do I/O, read a clock or the
environment, log, or import another package of the house.
"""
