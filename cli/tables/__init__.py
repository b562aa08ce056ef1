"""What people read on stdout, as tables and lines of any width."""
