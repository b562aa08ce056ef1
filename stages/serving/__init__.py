"""The HTTP service: routes, what a request may hold, batches, counts, and clients that are too slow."""
