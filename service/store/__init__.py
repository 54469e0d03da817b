"""The database: its tables, its migrations, and what each process asks of it."""
