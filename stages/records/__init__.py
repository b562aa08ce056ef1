"""What was run and what was settled: run.json and lr.json, and who checks them."""
