"""The database: engine and sessions, tables, migrations, locks, ids and stored files."""
