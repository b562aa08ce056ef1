"""A trained ensemble that leaves the project, and what answers new photos with it."""
