"""Plans and results made readable: tables, JSON, CSV, formulas, contact sheets.

The only user of Rich.
"""
