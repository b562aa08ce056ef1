"""Photos and people: layouts, decoding, the pixel cache, the demo data set."""
