"""A Discord on loopback: REST and gateway over real sockets, as strict as the real one where it matters here.

Written from what discord.py 2.7.1 sends and reads; faults, rate limits and disconnects come to order.
"""

from tests.discord_bot.fake.server import Discord

__all__ = ["Discord"]
