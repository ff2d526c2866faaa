"""Exchanges for the tests: stateful, strict, over real HTTP on loopback.

Written from what the exchanges document, never from the adapters that they prove.
"""
