"""Where a controller keeps its networks: SQLite, PostgreSQL, and what reads a folder of another controller."""
