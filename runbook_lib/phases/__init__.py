"""One module per notebook, of the same name: the only place where PostgreSQL, Prisma and the service meet."""
