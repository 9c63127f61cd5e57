"""The store: what a workspace remembers, in SQLite or PostgreSQL. Only `services` opens it."""
