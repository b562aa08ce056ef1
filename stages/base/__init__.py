"""What every room stands on: errors, files, paths, git, talk, cores."""
