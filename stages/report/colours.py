"""What each colour means, in every picture: PNG files, the report's charts and page, and the templates in .dvc/plots.

Templates are JSON and cannot import these; a test compares them. Colours of one group are told apart also by the
colour-blind (Machado et al. 2009, checked by the same test); learning-rate suggestions are told apart by shape.
"""

REVISIONS = ("#00786c", "#c77f00", "#222222", "#b45ad8")  # in the order in which a person names them
LEVELS = ("#8a9a1a", "#5b3a96", "#dc648c", "#6b1420")  # of an axis, in the order of its codes
NEUTRAL = "#6b7480"  # counts, and what takes no side
VERDICTS = {"better": "#0069b4", "worse": "#c83200", "no evidence either way": NEUTRAL, "too few to tell": "#b5b5b5"}
INK = "#1c2430"  # text and marks
SHADES = ("#ffffff", "#34404d")  # from none to all, of a confusion matrix
WRITTEN_LIGHT = 0.65  # share of the darkest shade above which what is written on it is white
SUGGESTIONS = {"steepest": "^", "valley": "s", "minimum/10": "D"}  # matplotlib's markers; all in INK
HEAT = ("#3b0f70", "#de4968", "#fec287")  # from little to most, of what a model looks at
