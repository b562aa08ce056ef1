"""What is drawn. No torch here."""
