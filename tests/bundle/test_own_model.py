"""A bundle of models that come from a file of one's own: it names the file, and loads only where that file is given."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.bundle import graph_files, of_bundle, of_project
from stages.bundle.contents import NAME
from stages.by_hand import bundle
from stages.learn import plugins
from stages.params.model_and_training import Plugins
from tests.bundle.made import draw_folds
from tests.learn import plugged

BUNDLE = Path("out/bundle")


@pytest.fixture
def bundled(project: Path) -> object:
    params = plugged.place()
    draw_folds(params)
    bundle.run(params, BUNDLE, bundle.Asked(), SILENT)
    yield params
    plugins.load(plugins.NO_PLUGINS)


def test_it_names_the_file_and_the_card_says_what_it_takes(bundled: object) -> None:
    told = json.loads((BUNDLE / NAME).read_text())
    digest = plugins.plugin_files.sha256(plugged.NETS.encode())
    assert told["plugin"] == {"file": "nets.py", "sha256": digest}
    card = (BUNDLE / "README.md").read_text()
    assert f"| code of the model | nets.py, sha256 {digest} |" in card
    assert "come from nets.py, a file that this bundle does not hold" in card
    assert not list(BUNDLE.rglob("*.py"))


def test_it_answers_where_params_yaml_names_that_file_and_nowhere_else(bundled: object, tmp_path: Path) -> None:
    wanted = of_project.open_project(bundled)  # type: ignore[arg-type]
    assert [
        net.architecture for net in of_bundle.open_bundle(BUNDLE, own=lambda: Plugins(models="nets.py")).networks
    ] == [net.architecture for net in wanted.networks]
    assert "nets.py" in graph_files.metadata(wanted, "uint8")["contents"]
    with pytest.raises(UserError, match=r"comes from a Python file that is not named here, nets.py"):
        of_bundle.open_bundle(BUNDLE)
    Path("nets.py").write_text(f"{plugged.NETS}# more\n")
    with pytest.raises(UserError, match=r"comes from nets.py as it was then .* and the file is another now"):
        of_bundle.open_bundle(BUNDLE, own=lambda: Plugins(models="nets.py"))


def test_what_a_bundle_names_is_never_imported(bundled: object) -> None:
    """Not even where the file that it names is there, and its hash is right."""
    Path("trap.py").write_text(f"open('sprung', 'w').close()\n{plugged.NETS}")
    told = json.loads((BUNDLE / NAME).read_text())
    told["params"]["plugins"] = {"models": "trap.py", "losses": "trap.py"}
    told["plugin"] = {"file": "trap.py", "sha256": plugins.plugin_files.sha256(Path("trap.py").read_bytes())}
    for plugin, own in ((told["plugin"], Plugins(models="nets.py")), (None, plugins.NO_PLUGINS)):
        (BUNDLE / NAME).write_text(json.dumps(told | {"plugin": plugin, "digest": None}))
        for given in (own, plugins.NO_PLUGINS):
            with pytest.raises(UserError, match=r"trap.py|timm has no model `tiny`"):
                of_bundle.open_bundle(BUNDLE, own=partial(Plugins, models=given.models))
    assert not Path("sprung").exists()


def test_a_bundle_of_timms_model_never_asks_for_the_files_here(bundled: object) -> None:
    params = plugged.place(model={"name": "test_resnet"}, plugins={"models": "plugins/none"})
    draw_folds(params)
    shutil.rmtree(BUNDLE)
    Path("out/bundle.zip").unlink()
    bundle.run(params, BUNDLE, bundle.Asked(), SILENT)
    Path("mine.py").unlink()
    opened = of_bundle.open_bundle(BUNDLE, own=lambda: pytest.fail("was asked"))
    assert opened.contents.plugin is None
