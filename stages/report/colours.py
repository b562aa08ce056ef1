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
SUGGESTIONS = {"half the fall": "s", "lowest": "D"}  # of the range test; matplotlib's markers, all in INK
HEAT = ("#3b0f70", "#de4968", "#fec287")  # from little to most, of what a model looks at
# Numbers on SHADES, and the share of the darkest above which the light one stands: so each has WCAG's contrast of 4.5 on every
# shade. Neither is plain black or white, which are other things in the dark, nor one of the shades: of these red falls first.
NUMBERS = ("#010101", "#fffefe")
NUMBERS_LIGHT = 0.71
SOFT = "#5a6675"  # text that stands back
GROUND = "#f4f6f8"  # behind the boxes of a page
# What each becomes on a page in the dark (prefers-color-scheme); shades between SHADES lie between DARK_SHADES.
DARK = {
    "#ffffff": "#171d26",
    GROUND: "#0e131a",
    INK: "#e6eaf0",
    SOFT: "#a7b2be",
    NUMBERS[0]: "#ffffff",
    NUMBERS[1]: "#000000",
    "#ebebeb": "#2b333e",
    "#ededed": "#2b333e",
    "#dde2e8": "#323c48",
    "#bfbfbf": "#5f6a77",
    "#808080": "#8f99a5",
    "#595959": "#b3bcc6",
    REVISIONS[0]: "#2fb5a5",
    REVISIONS[1]: "#e8a33a",
    VERDICTS["better"]: "#5aa9ec",
    VERDICTS["worse"]: "#ff8a65",
    VERDICTS["too few to tell"]: "#737373",
}
DARK_SHADES = (DARK["#ffffff"], "#9d9b97")
