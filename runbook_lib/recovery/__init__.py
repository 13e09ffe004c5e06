"""Point-in-time recovery.

A point that is named before the migration, and three providers that lead back to it.
"""
