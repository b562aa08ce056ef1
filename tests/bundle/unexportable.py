"""What is typed that `maskcli export` refuses, by the name that docs/bad_input.md gives it."""

TORCH = ("--to", "torch-export")

REFUSED: dict[str, tuple[str, ...]] = {
    "export without its extra": ("export", ".", "--to", "onnx"),
    "export --int8 of a bundle": ("export", "out/bundle", "--to", "onnx", "--int8"),
    "export --int8 to torch-export": ("export", ".", *TORCH, "--int8"),
    "export over a file that is there": ("export", ".", *TORCH, "--out", "params.yaml"),
    "export into a folder": ("export", ".", *TORCH, "--out", "out"),
    "export checked on a folder without photos": ("export", ".", *TORCH, "--photos", "out/prepare"),
    "export of something else": ("export", "out/prepare", *TORCH),
}
