"""Where DVC keeps the project's data."""
