"""params.yaml: its schema, its loading, its errors in one line."""
