"""What `maskcli init` looks at, chooses and writes."""
