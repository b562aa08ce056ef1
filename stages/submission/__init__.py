"""From predictions to answers: the decision rule, and the one writer of submissions."""
