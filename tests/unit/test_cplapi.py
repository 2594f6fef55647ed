# SPDX-License-Identifier: GPL-2.0-or-later
"""The stand-in for PyCPL behaves as PyCPL; the choice between them never trusts the name alone."""

import logging
import sys
import types

import pytest

from muse_core import cplapi
from muse_core.cplapi import messages
from muse_core.cplapi import standin_core as core
from muse_core.cplapi import standin_ui as ui

TEXTS = ("name", "version", "author", "email", "copyright", "synopsis", "description")


def make_recipe(**extra):
    body = {"_" + text: text for text in TEXTS} | {"run": lambda self, frameset, settings: frameset} | extra
    return type("Recipe", (ui.PyRecipe,), body)


def test_recipe_texts_are_read_only():
    recipe = make_recipe()()
    assert [getattr(recipe, text) for text in TEXTS] == list(TEXTS)
    with pytest.raises(AttributeError):
        recipe.name = "other"


def test_recipe_without_a_text_is_refused_when_instantiated():
    body = {"_" + text: text for text in TEXTS if text != "email"} | {"run": lambda self, f, s: f}
    with pytest.raises(TypeError, match="_email"):
        type("Recipe", (ui.PyRecipe,), body)()


def test_recipe_without_run_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        type("Recipe", (ui.PyRecipe,), {"_" + text: text for text in TEXTS})()


@pytest.mark.parametrize(
    ("default", "value", "stored"),
    [(1.0, 2, 2.0), (1.0, 2.5, 2.5), (1, 3, 3), ("a", "b", "b"), (True, False, False)],
)
def test_parameter_takes_values_of_its_type(default, value, stored):
    p = ui.ParameterValue("a.b", "help", "a", default)
    p.value = value
    assert p.value == stored
    assert type(p.value) is type(stored)
    assert p.default == default


@pytest.mark.parametrize(
    ("default", "value"), [(1.0, "2"), (1, "2"), (True, "true"), (True, 1), (1, True), (1.0, True), ("a", 1)]
)
def test_parameter_refuses_other_types(default, value):
    p = ui.ParameterValue("a.b", "help", "a", default)
    with pytest.raises(RuntimeError):
        p.value = value
    assert p.value == default


def test_float_to_integer_is_truncated_with_a_warning():
    p = ui.ParameterValue("a.b", "help", "a", 1)
    with pytest.warns(RuntimeWarning, match="truncated"):
        p.value = 2.7
    assert p.value == 2


def test_enum_and_range_do_not_check_assigned_values():
    p = ui.ParameterEnum(name="a.b", description="help", context="a", default="x", alternatives=("x", "y"))
    p.value = "z"
    assert (p.value, p.alternatives) == ("z", ("x", "y"))
    r = ui.ParameterRange("a.c", "help", "a", 0.5, 0.0, 1.0)
    r.value = 7.0
    assert (r.value, r.min, r.max) == (7.0, 0.0, 1.0)
    with pytest.raises(core.IllegalInputError) as caught:
        ui.ParameterEnum("a.b", "help", "a", "q", ("x", "y"))
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == 14


def test_parameter_aliases_and_types():
    p = ui.ParameterValue("a.b", "help", "a", 1.0)
    assert (p.cli_alias, p.env_alias, p.cfg_alias) == ("a.b", "a.b", "a.b")
    assert (p.help, p.data_type) == ("help", core.Type.DOUBLE)
    p.cli_alias = "b"
    assert (p.cli_alias, p.cfg_alias) == ("b", "a.b")
    with pytest.raises(TypeError):
        p.cli_alias = None
    with pytest.raises(AttributeError):
        p.default = 2.0


def test_parameter_list():
    first, second = (ui.ParameterValue(f"a.{n}", "help", "a", n) for n in "bc")
    parameters = ui.ParameterList([first])
    parameters.append(second)
    assert len(parameters) == 2
    assert list(parameters) == [first, second]
    assert parameters[-1] is second
    assert parameters["a.b"] is first
    assert "a.b" not in parameters  # membership compares elements, as in PyCPL
    with pytest.raises(KeyError):
        parameters["b"]
    with pytest.raises(TypeError):
        ui.ParameterList(["a.b"])


def test_frames(tmp_path, monkeypatch):
    (tmp_path / "a.fits").touch()
    with pytest.raises(core.FileIOError) as caught:
        ui.Frame(tmp_path / "nope.fits")
    assert not isinstance(caught.value, OSError)
    group, kind = ui.Frame.FrameGroup.PRODUCT, ui.Frame.FrameType.IMAGE
    frame = ui.Frame(str(tmp_path / "a.fits"), tag="T", group=group, frameType=kind)
    assert (frame.tag, int(frame.group), int(frame.level), int(frame.type)) == ("T", 3, 0, 2)
    assert frame.FrameGroup.RAW == 1
    frames = ui.FrameSet([frame])
    frames.append(frame)
    for f in frames:
        f.group = f.FrameGroup.RAW
    assert (len(frames), frames[-1].group) == (2, ui.FrameGroup.RAW)
    with pytest.raises(IndexError):
        frames[2]
    with pytest.raises(TypeError):
        frames["T"]
    (tmp_path / "x.sof").write_text("# comment\n\na.fits  RAW_TAG\tRAW\n a.fits CAL CALIB more\n")
    monkeypatch.chdir(tmp_path)
    read = ui.FrameSet("x.sof")
    assert [(f.file, f.tag, f.group.name) for f in read] == [
        (str(tmp_path / "a.fits"), "RAW_TAG", "RAW"),
        (str(tmp_path / "a.fits"), "CAL", "CALIB"),
    ]


@pytest.fixture
def clean_messages():
    before = core.Msg.get_config()
    core.Msg.set_config(**core.Msg._defaults)  # whatever an earlier test of this process left
    yield
    core.Msg.set_config(**before)
    core.Msg.stop_file()


@pytest.mark.usefixtures("clean_messages")
def test_messages_go_where_they_belong(capsys, tmp_path):
    core.Msg.set_config(domain="muse_scipost", unknown=1)
    core.Msg.start_file(core.SeverityLevel.DEBUG, str(tmp_path / "log"))
    core.Msg.debug("f", "hidden")
    core.Msg.info("f", "100 %s")
    core.Msg.error("g", "bad")
    core.Msg.set_config(show_component=True, show_threadid=True)
    core.Msg.warning("h", "careful")
    out, err = capsys.readouterr()
    assert out == "[ INFO  ] muse_scipost: 100 %s\n[WARNING] muse_scipost: h: [tid=000] careful\n"
    assert err == "[ ERROR ] muse_scipost: bad\n"
    log = (tmp_path / "log").read_text().splitlines()
    assert log[0] == ""
    assert log[2:4] == ["Program name   : muse_scipost", "Severity level : [ DEBUG ] "]
    assert [line[9:] for line in log[5:]] == [
        "[ DEBUG ] f: [tid=000] hidden",
        "[ INFO  ] f: [tid=000] 100 %s",
        "[ ERROR ] g: [tid=000] bad",
        "[WARNING] h: [tid=000] careful",
    ]


@pytest.mark.usefixtures("clean_messages")
def test_log_records_become_messages(capsys):
    core.Msg.set_config(domain="d", level=core.SeverityLevel.INFO)
    logger = logging.getLogger("muse_core.some.module")
    with messages.forward_logging(core.Msg), messages.forward_logging(core.Msg):
        logger.info("two\nlines of %d \N{MICRO SIGN}m", 2)
        logger.debug("nothing")
        logger.error("bad")
    logger.info("after")
    out, err = capsys.readouterr()
    assert out == "[ INFO  ] d: two\n[ INFO  ] d: lines of 2 \\xb5m\n"
    assert err == "[ ERROR ] d: bad\n"


@pytest.fixture
def undecided(monkeypatch):
    monkeypatch.setattr(cplapi, "_chosen", None)
    return monkeypatch


def test_pycpl_is_used_when_it_is_pycpl(undecided):
    fake = types.ModuleType("cpl")
    fake.ui, fake.core = types.SimpleNamespace(PyRecipe=object), types.SimpleNamespace()
    undecided.setitem(sys.modules, "cpl", fake)
    assert cplapi.is_pycpl()
    assert cplapi.ui is fake.ui
    assert cplapi.core is fake.core


def test_python_cpl_is_not_mistaken_for_pycpl(undecided, tmp_path):
    package = tmp_path / "cpl"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('python-cpl must not be imported')\n")
    (package / "recipe.py").write_text("class Recipe: pass\n")
    undecided.delitem(sys.modules, "cpl", raising=False)
    undecided.syspath_prepend(tmp_path)
    assert cplapi.ui is ui
    assert cplapi.core is core
    assert "cpl" not in sys.modules


def test_broken_pycpl_falls_back(undecided, tmp_path):
    (tmp_path / "cpl.py").write_text("raise ImportError('undefined symbol')\n")
    undecided.delitem(sys.modules, "cpl", raising=False)
    undecided.syspath_prepend(tmp_path)
    assert not cplapi.is_pycpl()


def test_only_ui_and_core():
    with pytest.raises(AttributeError):
        cplapi.dfs  # noqa: B018
