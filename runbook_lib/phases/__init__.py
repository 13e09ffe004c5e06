"""One module per notebook, of the same name.

The only place where PostgreSQL, Prisma and the service meet.
"""
