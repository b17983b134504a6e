"""Pointsman inside other programs; each module is loaded only by those who use that program."""
