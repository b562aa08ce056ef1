"""The stages of the pipeline, one file each, and the rooms they share."""
