"""Drawings of results: figures by matplotlib, HTML for notebooks, and text for terminals.

It knows results, and neither calls nor messages. matplotlib is imported only to draw.
"""
