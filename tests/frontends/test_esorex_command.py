# SPDX-License-Identifier: GPL-2.0-or-later
"""The command muse-esorex with a small recipe: settings, frames, products, messages, exit status."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from astropy.io import fits
from harness.recipes import RECIPES

import muse_core
from muse_core.frontends import registry

LIBRARIES = "\nLibraries used: "


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in an empty folder, with an empty home; return status, stdout without banner, stderr."""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    monkeypatch.chdir(work)
    for name in [name for name in os.environ if name.startswith(("ESOREX_", "PYESOREX_", "MUSE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ESOREX_PLUGIN_DIR", str(RECIPES))
    (work / "in.fits").write_bytes(bytes(3_000_000))
    (work / "in.sof").write_text("in.fits PIXTABLE_OBJECT\n")

    def call(*arguments):
        command = [sys.executable, "-m", "muse_core.frontends.esorex.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith("\n     ***** MUSE recipe execution tool, version")
        return done.returncode, done.stdout.split("\n", 3)[3], done.stderr

    return call


def untimed(text):
    """Replace what differs from run to run."""
    text = re.sub(r"^\d\d:\d\d:\d\d ", "", text, flags=re.MULTILINE)
    text = re.sub(r"took +\S+ seconds", "took X seconds", text)
    return re.sub(r"rate of +\S+ MB", "rate of X MB", text)


def test_recipe_runs(run):
    status, out, err = run("demo", "--dx=2", "--resample=linear", "in.sof")
    assert (status, err) == (0, "")
    assert untimed(out) == (
        "[ INFO  ] demo: [tid=000] A message\n"
        "[WARNING] demo: [tid=000] A warning\n"
        "[ INFO  ] main.py: [tid=000] Calculating product checksums\n"
        "[ INFO  ] main.py: [tid=000] Created product DATACUBE_FINAL.fits (in place)\n"
        "[ INFO  ] main.py: [tid=000] Created product IMAGE_FOV_0001.fits (in place)\n"
        "[ INFO  ] main.py: [tid=000] 2 products created\n"
        "[ INFO  ] main.py: [tid=000] Recipe operation(s) took X seconds to complete.\n"
        "[ INFO  ] main.py: [tid=000] Size of single raw input frame  =     3.00 MB\n\n"
        "[ INFO  ] main.py: [tid=000] => processing rate of X MB/sec \n\n"
    )
    with fits.open("DATACUBE_FINAL.fits", checksum=True) as hdus:
        header = hdus[0].header
        assert (header["DEMO dx"], header["DEMO resample"], header["DEMO astrometry"]) == (2.0, "linear", True)
        assert len(header["DATAMD5"]) == 32
        assert all("CHECKSUM" in hdu.header for hdu in hdus)
    log = Path("esorex.log").read_text()
    assert "\nProgram name   : main.py\nSeverity level : [ INFO  ] \n\n" in log
    assert re.search(r"\d\d:\d\d:\d\d \[WARNING\] demo: \[tid=000\] A warning\n", log)
    assert "[ INFO  ] : [tid=000] 2 products created\n" in log
    assert "debug" not in log


@pytest.mark.parametrize(
    ("arguments", "status", "messages", "with_libraries"),
    [
        (("nosuch", "in.sof"), 13, "Unable to find recipe 'nosuch'. Check that the recipe is in", False),
        (("--nope=3", "demo"), 255, "Command line parameter '--nope=3' not recognized", True),
        (("--p", "demo"), 255, "Command line parameter '--p' not recognized", True),
        (("demo", "--nope", "in.sof"), 255, "Unable to continue parsing command line options", False),
        (("demo", "--dx=abc", "in.sof"), 255, "--dx: found 'abc', expected a number\n", False),
        (("demo", "--dx=", "in.sof"), 255, "'--dx' needs an argument but none was specified after the equals", False),
        (("demo", "--ld=99999999999", "in.sof"), 255, "--ld: found '99999999999', expected an integer number", False),
        (
            ("demo", "--resample=foo", "in.sof"),
            255,
            "--resample: found 'foo', expected one of nearest, linear, drizzle\n",
            False,
        ),
        (
            ("demo", "--resample=lin", "in.sof"),
            255,
            "expected one of nearest, linear, drizzle; did you mean 'linear'?",
            False,
        ),
        (
            ("demo", "--resmaple=linear", "in.sof"),
            255,
            "'--resmaple=linear' not recognized; did you mean '--resample'?",
            False,
        ),
        (
            ("demo", "--output-dir=.", "in.sof"),
            255,
            "it is an option of main.py, which belongs before the recipe's",
            False,
        ),
        (
            ("--dx=1", "muse_scipost"),
            255,
            "it is a parameter of muse_scipost, which belongs after the recipe's name",
            True,
        ),
        (("demi", "in.sof"), 13, "did you mean 'demo'?", False),
        (("demo", "--astrometry=True", "in.sof"), 255, "--astrometry: found 'True', expected TRUE or FALSE\n", False),
        (
            ("demo", "--frac=2", "in.sof"),
            255,
            "--frac: found '2', expected a number from 0.0 to 1.0\n",
            False,
        ),
        (("--output-dir=nodir", "demo"), 255, "The argument to '--output-dir' [nodir] is not a valid directory", True),
        (("--output-dir", "demo"), 255, "No destination given for program output", True),
        (("--log-dir=nodir", "demo"), 255, "'--log-dir=nodir' specified, but 'nodir' is not a valid directory.", True),
        (("--log-file=", "demo"), 255, "'--log-file' is a mandatory option", True),
        (("--link-dir=nodir", "--suppress-link=FALSE", "demo"), 255, "Non-valid directory given for symbolic", True),
        (("--suppress-prefix=FALSE", "--output-prefix=", "demo"), 255, "no valid prefix has been given", True),
        (("--msg-level=INFO", "demo"), 255, "one of debug, info, warning, error, off; did you mean 'info'?\n", True),
        (("--config=nope.rc", "demo"), 255, "'--config=nope.rc' was specified, but the file 'nope.rc' could not", True),
        (("--recipe-config=nope.rc", "demo"), 255, "but the file 'nope.rc' could not be found.", True),
        (("--recipe-config=", "demo"), 255, "'--recipe-config' was specified, but no argument given.", True),
        (("--paf-config=nope", "demo"), 255, "'--paf-config=nope' specified, but 'nope' could not be opened", True),
        (("demo", "nosuch.sof"), 9, "Unable to open SOF file 'nosuch.sof'", False),
        (("demo", "--fail=InputError", "in.sof"), 255, "Execution of recipe 'demo' failed, status = -1", False),
    ],
)
def test_mistakes(run, arguments, status, messages, with_libraries):
    found, out, err = run(*arguments)
    assert found == status
    assert messages in err
    assert (LIBRARIES in out) == with_libraries
    assert not list(Path().glob("*_*.fits"))


def test_a_number_without_equals_sign_is_reported_and_ignored(run):
    status, _, err = run("demo", "--dx", "in.sof")
    assert status == 0
    assert "'--dx' needs an argument but none was specified..." in err
    assert fits.getval("DATACUBE_FINAL.fits", "DEMO dx") == 0.0


def test_trailing_text_of_a_number_is_ignored_with_a_warning(run):
    status, out, _ = run("demo", "--ld=1.7", "--dx=1d3", "in.sof")
    assert status == 0
    assert "'--ld=1.7' is read as 1\n" in out
    assert "'--dx=1d3' is read as 1.0\n" in out


def test_missing_input_file(run):
    Path("bad.sof").write_text("# comment\nin.fits PIXTABLE_OBJECT\nmissing.fits LSF CALIB\n")
    status, _, err = run("demo", "bad.sof")
    assert status == 9
    assert (
        "Could not open the input file 'missing.fits' with tag 'LSF' and group 'CALIB' in line 3 of the SOF 'bad.sof'"
    ) in err
    assert "\nIf you want to ignore errors of missing files in the sof, set '--check-sof-exist=false'.\n" in err
    status, _, err = run("--check-sof-exist=FALSE", "--time=FALSE", "demo", "bad.sof")
    assert (status, err) == (0, "")


def test_unfinished_words_and_one_dash(run):
    assert run("-time=FALSE", "demo", "-ast=FALSE", "--sa=x=y", "in.sof")[0] == 0
    header = fits.getheader("DATACUBE_FINAL.fits")
    assert (header["DEMO astrometry"], header["DEMO save"]) == (False, "x=y")


def test_precedence_of_settings(run, tmp_path, monkeypatch):
    personal = tmp_path / "home" / ".esorex"
    personal.mkdir()
    (personal / "demo.rc").write_text('muse.demo.dx=1\nmuse.demo.ld = 11 \n# muse.demo.ld=0\nmuse.demo.save="a b"\n')
    Path("my.rc").write_text("muse.demo.dx=2\nmuse.demo.frac=0.25\n")
    (personal / "esorex.rc").write_text("esorex.caller.output-prefix=home\nesorex.caller.recipe-config=my.rc\n")
    _, out, err = run("--params", "demo", "--frac=0.5")
    values = dict(re.findall(r"^  (\S+) +: (.*)$", out, re.MULTILINE))
    assert err == ""
    assert [values[name] for name in ("dx", "ld", "save", "frac", "output-prefix")] == [
        "2.0",
        "11",
        "a b",
        "0.5",
        "home",
    ]
    Path("other.rc").write_text("esorex.caller.msg-level=error\nesorex.caller.link-dir=/\n")
    monkeypatch.setenv("ESOREX_CONFIG", "other.rc")
    monkeypatch.setenv("ESOREX_LINK_DIR", "/var")
    monkeypatch.setenv("ESOREX_TIME", "FALSE")
    _, out, _ = run("--params", "--time", "demo")
    values = dict(re.findall(r"^  (\S+) +: (.*)$", out, re.MULTILINE))
    wanted = {"msg-level": "error", "link-dir": "/var", "time": "TRUE", "output-prefix": "out", "dx": "1.0"}
    assert {name: values[name] for name in wanted} == wanted


def test_bad_environment_variable_stops(run, monkeypatch):
    monkeypatch.setenv("ESOREX_MSG_LEVEL", "loud")
    status, _, err = run("demo", "in.sof")
    assert status == 255
    assert "Environment variable ESOREX_MSG_LEVEL: found 'loud', expected one of debug, info, " in err


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("nope=3", 250, "Parameter 'nope' not recognised in configuration file 'x.rc'"),
        ("muse.demo.dxx=3", 250, "not recognised in configuration file 'x.rc'; did you mean 'muse.demo.dx'?"),
        ("dx=3", 250, "Parameter 'dx' not recognised"),
        ("muse.demo.dx=abc", 251, "Error parsing/interpreting entry 'muse.demo.dx' in configuration file 'x.rc'"),
        ("muse.demo.resample=foo", 251, "file 'x.rc': found 'foo', expected one of nearest, linear, drizzle\n"),
        ('muse.demo.save="a" b', 253, "Quoting mismatch within value '\"a\" b' for parameter 'muse.demo.save'"),
        ("hello", 254, "'hello' does not fit 'key=value' format in configuration file 'x.rc'"),
        ("muse.demo.dx=", 254, "'muse.demo.dx=' does not fit 'key=value' format"),
        ("[\n  {", 254, "'[' does not fit 'key=value' format"),
    ],
)
def test_mistakes_in_recipe_configuration(run, text, status, message):
    Path("x.rc").write_text(text + "\n")
    found, _, err = run("--recipe-config=x.rc", "demo", "in.sof")
    assert (found, message in err) == (status, True)
    assert not Path("DATACUBE_FINAL.fits").exists()


def test_mistakes_in_own_configuration_do_not_stop(run):
    Path("x.rc").write_text("esorex.caller.time=FALSE\nesorex.caller.nope=1\nesorex.caller.output-dir=nodir\n")
    status, out, err = run("--config=x.rc", "demo", "in.sof")
    assert status == 0
    assert "Unable to continue parsing configuration file 'x.rc'" in err
    assert "took" not in out


def test_configuration_files_are_written_and_read(run, tmp_path):
    status, out, _ = run("--create-config", "demo", "--dx=0.3", "--save=")
    path = tmp_path / "home" / ".esorex" / "demo.rc"
    assert status == 0
    assert "No global configuration directory exists." in out
    assert "No sensible default available for '--save'." in out
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("# ")]
    assert lines[:1] == ["#"]
    assert [line for line in lines if "=" in line] == [
        "#muse.demo.save=",
        "muse.demo.resample=drizzle",
        "muse.demo.dx=0.3",
        "muse.demo.frac=0.05",
        "muse.demo.ld=1",
        "muse.demo.astrometry=TRUE",
        "#muse.demo.fail=",
    ]
    assert "\n# --resample\n# Method. <nearest | linear | drizzle>\n" in path.read_text()
    _, out, _ = run("--create-config", "demo")
    assert f"Old configuration file copied to '{path}.bak'" in out
    assert "muse.demo.dx=0.3\n" in path.read_text()
    run("--create-config=x.json", "demo")
    entries = {entry["display_name"]: entry for entry in json.loads(Path("x.json").read_text())}
    assert entries["frac"] == {
        "name": "muse.demo.frac",
        "value": 0.05,
        "valtype": "double",
        "partype": "range",
        "valmin": 0,
        "valmax": 1,
        "display_name": "frac",
        "description": "Fraction.",
        "recipe": "demo",
    }
    assert entries["resample"]["valenum"] == ["nearest", "linear", "drizzle"]
    status, out, err = run("--create-config=nodir/x.rc", "demo")
    assert (status, "Unable to create configuration file 'nodir/x.rc'" in err) == (0, True)
    run("--create-config=own.rc", "--output-prefix=pre")
    assert run("--config=own.rc", "--params")[1].count("output-prefix         : pre") == 1


def test_products_are_moved_linked_protected_and_listed(run):
    for name in ("out", "links"):
        Path(name).mkdir()
    options = ("--output-dir=out", "--suppress-link=FALSE", "--link-dir=links", "--output-readonly", "--time=FALSE")
    status, out, _ = run(*options, "--products-sof=p.sof", "demo", "in.sof")
    assert status == 0
    assert "Created product out/DATACUBE_FINAL.fits\n" in out
    assert (
        Path("p.sof").read_text() == "out/DATACUBE_FINAL.fits     DATACUBE_FINAL\nout/IMAGE_FOV_0001.fits     IMAGE_FOV"
    )
    assert Path("out/IMAGE_FOV_0001.fits").stat().st_mode & 0o777 == 0o444
    assert os.readlink("links/IMAGE_FOV_0001.fits") == "out/IMAGE_FOV_0001.fits"
    assert not Path("DATACUBE_FINAL.fits").exists()
    status, out, _ = run(*options, "--products-sof=p.json", "demo", "in.sof")
    assert status == 0
    assert "already exists and will be overwritten (out/DATACUBE_FINAL.fits)" in out
    assert Path("p.json").read_text() == (
        '[\n  {\n    "name": "out\\/DATACUBE_FINAL.fits",\n    "category": "DATACUBE_FINAL"\n  },\n'
        '  {\n    "name": "out\\/IMAGE_FOV_0001.fits",\n    "category": "IMAGE_FOV"\n  }\n]\n'
    )


def test_products_are_renamed(run):
    status, out, _ = run("--suppress-prefix=FALSE", "--output-prefix=pre", "--time=FALSE", "demo", "in.sof")
    assert status == 0
    assert f"Created product {os.getcwd()}/pre_0001.fits\n" in out
    assert fits.getval("pre_0000.fits", "PIPEFILE") == "DATACUBE_FINAL.fits"
    assert not Path("DATACUBE_FINAL.fits").exists()


def test_products_that_cannot_be_moved(run):
    Path("out/DATACUBE_FINAL.fits").mkdir(parents=True)
    status, out, err = run("--output-dir=out", "--products-sof=p.sof", "--time=FALSE", "demo", "in.sof")
    assert status == 61
    assert "Unable to move product file to final output path (out/DATACUBE_FINAL.fits)" in err
    assert "0 products created" in out
    assert not Path("p.sof").exists()
    assert run("--products-sof=nodir/p.sof", "--time=FALSE", "demo", "in.sof")[0] == 8


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
def test_signatures(run, md5, checksum):
    options = ["--no-datamd5"] * (not md5) + ["--no-checksum"] * (not checksum)
    assert run(*options, "--time=FALSE", "demo", "in.sof")[0] == 0
    header = fits.getheader("DATACUBE_FINAL.fits")
    assert (len(header.get("DATAMD5", "")) == 32, "CHECKSUM" in header, "DATASUM" in header) == (
        md5,
        checksum,
        checksum,
    )


def test_failure(run):
    status, out, err = run("--products-sof=p.sof", "demo", "--fail=DataError", "in.sof")
    assert status == 255
    assert untimed(err) == (
        "[ ERROR ] demo: [tid=000] as asked\n"
        "[ ERROR ] main.py: [tid=000] Execution of recipe 'demo' failed, status = -1\n"
    )
    assert "Writing of output sof omitted due to previous errors" in out
    assert not Path("p.sof").exists()


def test_levels(run):
    status, out, err = run("--msg-level=off", "--log-level=off", "demo", "in.sof")
    assert (status, out, err, Path("esorex.log").exists()) == (0, "", "", False)
    Path("logs").mkdir()
    _, out, _ = run("--msg-level=debug", "--log-level=error", "--log-dir=logs", "--log-file=x.log", "demo", "in.sof")
    assert "[ DEBUG ] demo: demo: [tid=000] A debug message\n" in untimed(out)
    assert "[ INFO  ] main.py: : [tid=000] 2 products created\n" in untimed(out)
    assert "A warning" not in Path("logs/x.log").read_text()


def test_help_texts(run):
    _, out, _ = run("--help", "demo")
    assert out.startswith(
        "Recipe: demo -- Recipe for tests.\n\nUsage: main.py [main.py-options] demo [demo-options] sof\n"
    )
    assert "\n  --save                : What to save. [cube,skymodel]\n" in out
    assert "\n  --resample            : Method. <nearest | linear | drizzle> [drizzle]\n" in out
    assert "\n  --astrometry          : Use it?. [TRUE]\n" in out
    _, out, _ = run("--man-page", "demo")
    assert "\nDESCRIPTION\n  This text is the long description.\n  It has two lines.\n\nOPTIONS\n" in out
    assert out.endswith("\nRELEASE\n  demo -- version 2.9.0\n\nLICENSE\n  No copyright\n")
    _, out, _ = run("--help")
    assert "\n  --log-dir             : Directory of the log file. This option may also be set\n" in out
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("Libraries"))


def test_hidden_parameters(run):
    assert "raman_width" not in run("--help", "muse_scipost")[1]
    assert (
        "raman_width" in run("--help", "--show-hidden", "muse_scipost")[1]
        or "raman_width" in run("--show-hidden", "--help", "muse_scipost")[1]
    )
    assert "  raman_width           : 3.0\n" in run("--params", "muse_scipost", "--raman_width=3")[1]


def test_recipes_are_listed(run):
    status, out, err = run("--recipes")
    assert (status, err) == (0, "")
    assert out.startswith("List of Available Recipes :\n\n")
    assert (
        "  muse_scipost          : MUSE pixel tables to calibrated, sky-subtracted,\n"
        "                          combined datacubes.\n"
    ) in out
    assert "  demo                  : Recipe for tests.\n" in out
    assert re.findall(r"^  (muse_\w+) *:", out, re.MULTILINE) == registry.built_in()
    assert "Unable to open directory /nope\n" in run("--recipe-dir=/nope", "--recipes")[1]


@pytest.mark.parametrize("arguments", [["--man-page", "muse_scipost"], ["--recipes"], ["--version"]])
def test_nothing_heavy_is_imported_to_describe_recipes(tmp_path, arguments):
    heavy = {"numpy", "astropy", "scipy", "importlib.metadata", "ctypes", "multiprocessing"}
    code = (
        f"import sys; from muse_core.frontends.esorex.main import main; main({arguments!r}, 'x');"
        f"sys.exit(', '.join({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(("kind", "arguments"), [("none", ["--skymethod=none", "--save=cube"]), ("model", [])])
def test_nothing_heavy_is_imported_by_a_run(datasets, tmp_path, kind, arguments):
    """To import astropy takes longer than to reduce a small field: what was read with it starts a third later."""
    sof = datasets["wfm"].sofs[kind]
    code = (
        "import sys; from muse_core.frontends.esorex.main import main;"
        f"status = main(['muse_scipost', *{arguments!r}, {str(sof)!r}], 'x');"
        "heavy = {'scipy', 'astropy', 'numpy.ma', 'importlib.metadata', 'multiprocessing', 'muse_core.api'};"
        "heavy &= set(sys.modules);"
        "sys.exit(status or ', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(run, number):
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "demo", "--fail=sleep", "in.sof"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not Path("running").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -number
    assert f"Stopped by {number.name}" in err


def test_closed_output(run):
    command = f"{sys.executable} -m muse_core.frontends.esorex.main --help | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_help_names_every_variable(run):
    """All variables that the package reads, with an option or without."""
    package = Path(muse_core.__file__).parent
    sources = [path.read_text() for path in package.rglob("*.py") if not {"simulate", "cython_ext"} & set(path.parts)]
    names = {name for text in sources for name in re.findall(r'(?<!ProductSpec\()"((?:MUSE|OMP)_[A-Z_]+)"', text)}
    out = run("--help")[1]
    assert len(names) > 5
    assert [name for name in names if name not in out] == []


@pytest.mark.parametrize("by", ["option", "variable", "both"])
def test_settings_of_a_run(by, run, monkeypatch):
    """Memory and folders as options, which win over the variables."""
    monkeypatch.setenv("DEMO_VARIABLE", "x")
    values = {"cluster": "tcp://c:1", "max-memory": "3G", "scratch": "a", "resume": "b"}
    for name, value in values.items() if by != "option" else ():
        monkeypatch.setenv("MUSE_" + name.upper().replace("-", "_"), value if by == "variable" else "other")
    options = [f"--{name}={value}" for name, value in values.items()] if by != "variable" else []
    status, out, _ = run("--msg-level=debug", *options, "demo", "in.sof")
    assert status == 0
    found = re.findall(r"variable (MUSE_\w+)=(.*)", out)
    wanted = {"CLUSTER": "tcp://c:1", "MAX_MEMORY": "3G", "RESUME": "b", "SCRATCH": "a"}
    assert found == [(f"MUSE_{name}", value) for name, value in wanted.items()]


def test_carriage_returns_in_a_set_of_frames(run):
    Path("in.sof").write_bytes(b"# comment\r\nin.fits PIXTABLE_OBJECT\r\n\r\nin.fits LSF CALIB\r\nin.fits\r\n")
    status, out, err = run("--msg-level=debug", "demo", "in.sof")
    assert (status, err) == (0, "")
    assert re.findall(r"frame (in.fits \w* ?)3000000", out) == ["in.fits PIXTABLE_OBJECT ", "in.fits LSF ", "in.fits  "]
