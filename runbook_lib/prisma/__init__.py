"""Asks Prisma: its command line, its history, and what one migration file will do."""
