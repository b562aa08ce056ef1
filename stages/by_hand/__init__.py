"""The commands that no DVC stage is, one file each, named as typed."""
