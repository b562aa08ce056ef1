"""What is drawn and logged. Nothing here computes with torch."""
