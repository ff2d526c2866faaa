"""ACTS: the only package that joins thinking, talking and remembering.

Settings, the door for alerts, the runner and what people are shown. It must never hold a rule about
money (that is trading's), a venue's dialect (exchanges') or SQL (store's), nor import web or discord_bot.
"""
