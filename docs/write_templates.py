"""Writes stages/new_project/templates, from which `maskcli init` makes projects: python docs/write_templates.py

They are this repository's own files, so that its stages and those of a project made elsewhere cannot drift apart; the
installed package has no other copy of them. A test keeps the two alike.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "stages/new_project/templates"
# By other names: DVC takes every dvc.yaml below a project for one of its own, git and DVC every ignore file.
COPIES = {
    "stages.yaml": "dvc.yaml",
    "gitignore": ".gitignore",
    "gitattributes": ".gitattributes",
    "no_weights": "weights/none",
    "no_plugins": "plugins/none",
    "no_pseudo_labels.csv": "pseudo/none.csv",
}


def copies() -> dict[Path, Path]:
    """Each template that is a copy, and the file it is a copy of."""
    plots = {f"plots/{path.name}": path for path in sorted((ROOT / ".dvc/plots").glob("*.json"))}
    return {TEMPLATES / name: ROOT / path for name, path in COPIES.items()} | {
        TEMPLATES / name: path for name, path in plots.items()
    }


if __name__ == "__main__":
    for old in [*TEMPLATES.glob("plots/*"), *(TEMPLATES / name for name in COPIES)]:
        old.unlink(missing_ok=True)
    for template, source in copies().items():
        template.parent.mkdir(parents=True, exist_ok=True)
        template.write_bytes(source.read_bytes())
