"""Asks and moves PostgreSQL; knows no run, no Prisma, no notebook."""
