"""What runs within the jail: standard library only, since nothing else is there.

This folder alone is visible inside; `values` is read on both sides.
"""
