"""What is known about the values in a batch: who, where, what kind of place.

Rule of this package: once per distinct value, never per row.
"""
