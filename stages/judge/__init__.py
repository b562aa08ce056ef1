"""Pure functions of arrays: metrics, bootstrap, voting. No torch here."""
