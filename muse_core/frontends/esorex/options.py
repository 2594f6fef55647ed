# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and parameters of the command: their values as text, as CPL reads and prints them."""

import math
import re
from collections.abc import Iterable
from typing import Any

from muse_core.model.declare import did_you_mean
from muse_core.model.record import record
from muse_core.recipe.extras import EXTRAS, EXTRAS_VARIABLE

PREFIX = "esorex.caller."
LEVELS = ("debug", "info", "warning", "error", "off")

_INTEGER = re.compile(r"\s*([+-]?\d+)")
_DOUBLE = re.compile(r"\s*([+-]?(?:inf(?:inity)?|nan|0x[0-9a-f]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?))", re.IGNORECASE)
_BOOLEANS = {"TRUE": True, "true": True, "FALSE": False, "false": False}


class ValueProblem(ValueError):
    """A text that is not a value of its option; the message says what was expected instead."""


@record(frozen=False)
class Option:
    """One option of the command, or one parameter of a recipe.

    Attributes
    ----------
    name : str
        Name on the command line.
    full_name : str
        Name in configuration files.
    default, value : bool, int, float or str
        Default, whose type is that of the option, and current value.
    help : str
        Text without the remark on the environment variable.
    choices : tuple
        Allowed values, if they are few.
    limits : tuple or None
        Smallest and largest value.
    hidden : bool
        Left out of help texts of recipes, and of the list of options of the command.
    environment : str
        Environment variable that sets it, if any.
    in_config : bool
        Part of configuration files that we write.
    """

    name: str
    full_name: str
    default: Any
    help: str
    choices: tuple = ()
    limits: tuple | None = None
    hidden: bool = False
    environment: str = ""
    in_config: bool = True
    value: Any = None

    def __post_init__(self):
        self.value = self.default

    @property
    def kind(self) -> type:
        """bool, int, float or str."""
        return type(self.default)

    @property
    def help_with_environment(self) -> str:
        """Help text with a sentence on the environment variable."""
        if not self.environment:
            return self.help
        return f"{self.help} This option may also be set using the environment variable {self.environment}."

    def set_text(self, text: str) -> str:
        """Set the value from a text; return the part of it that was ignored, as C's strtol and strtod do.

        Raises
        ------
        ValueProblem
            If the text is no value of this type, not one of the choices, or outside the limits.
        """
        value, ignored = parse(self.kind, text)
        if self.choices and value not in self.choices:
            choices = [format_value(choice) for choice in self.choices]
            raise ValueProblem(f"one of {', '.join(choices)}{did_you_mean(text, choices)}")
        if self.limits and not self.limits[0] <= value <= self.limits[1]:
            low, high = (format_value(limit) for limit in self.limits)
            raise ValueProblem(f"a number from {low} to {high}")
        self.value = value
        return ignored


def parse(kind: type, text: str) -> tuple[Any, str]:
    """Return the value that `text` stands for, and the rest of it that C would ignore.

    Raises
    ------
    ValueProblem
        If it does not start with a value of that type.
    """
    if kind is str:
        return text, ""
    if kind is bool:
        if text not in _BOOLEANS:
            raise ValueProblem("TRUE or FALSE")
        return _BOOLEANS[text], ""
    match = (_INTEGER if kind is int else _DOUBLE).match(text)
    if not match or (kind is int and abs(int(match[1])) >= 2**31):
        raise ValueProblem("an integer number, of 32 bits" if kind is int else "a number")
    number = match[1]
    convert = int if kind is int else float.fromhex if "x" in number.lower() else float
    return convert(number), text[match.end() :]


def format_value(value: Any) -> str:
    """Return a value as esorex prints it: doubles with at least 3 digits and as many as they need."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"{value:g}"
        text = next(t for t in (f"{value:.{p}g}" for p in range(3, 18)) if float(t) == value)
        return text if "." in text or "e" in text else text + ".0"
    return str(value)


def recipe_options(recipe) -> list[Option]:
    """Return the parameters of a recipe as options; they do not change the recipe."""
    specs = {spec.name: spec for spec in getattr(recipe, "PARAMETERS", ())}
    options = []
    for parameter in recipe.parameters:
        spec = specs.get(parameter.cli_alias)
        limits = (parameter.min, parameter.max) if hasattr(parameter, "min") else None
        options.append(
            Option(
                name=parameter.cli_alias,
                full_name=parameter.name,
                default=parameter.default,
                help=parameter.description,
                choices=tuple(getattr(parameter, "alternatives", ())),
                limits=limits,
                hidden=spec is not None and spec.hidden,
            )
        )
    return options


def _caller(name, default, text, *, choices=(), environment=None, in_config=True, hidden=False) -> Option:
    variable = "ESOREX_" + name.upper().replace("-", "_") if environment is None else environment
    return Option(name, PREFIX + name, default, text, tuple(choices), None, hidden, variable, in_config)


def caller_options(recipe_dir: str) -> list[Option]:
    """Return the options of the command itself, with their defaults."""
    return [
        _caller(
            "help",
            False,
            "Show this help, or that of the recipe that is named, and exit.",
            environment="",
            in_config=False,
        ),
        _caller("version", False, "Show the version and exit.", environment="", in_config=False),
        _caller("check-sof-exist", True, "Refuse to start if an input file is missing or cannot be read."),
        _caller(
            "cluster",
            "",
            "Dask cluster that does the work: address of its scheduler (tcp://host:8786), or path of its file.",
            environment="MUSE_CLUSTER",
            in_config=False,
            hidden=True,
        ),
        _caller(
            "completion",
            "",
            "Show the script by which a shell completes options, recipes, parameters, choices and sets of frames, and "
            "exit; stands alone.",
            choices=("bash", "zsh"),
            environment="",
            in_config=False,
            hidden=True,
        ),
        _caller("config", "", "Configuration file of this command.", in_config=False),
        _caller(
            "create-config",
            "FALSE",
            "Write a configuration file of this command, or of the recipe that is named, with the values in force: "
            "'.esorex/esorex.rc' or '.esorex/<recipe>.rc' in $HOME if TRUE, else the file given; in JSON if its name "
            "ends in .json. An existing file is kept with '.bak' added to its name.",
            in_config=False,
        ),
        _caller(
            "dry-run",
            False,
            "With '--redo': show the set of frames, the parameters and what is missing or changed, and exit.",
            environment="",
            in_config=False,
            hidden=True,
        ),
        _caller(
            "extras",
            "",
            f"Products beyond those of ESO's recipes, separated by commas: {', '.join(EXTRAS)}.",
            environment=EXTRAS_VARIABLE,
            in_config=False,
            hidden=True,
        ),
        _caller(
            "link-dir",
            "/tmp",
            "Directory for symbolic links to the products; they are made if '--suppress-link' is FALSE.",
        ),
        _caller("log-dir", ".", "Directory of the log file."),
        _caller("log-file", "esorex.log", "Name of the log file."),
        _caller("log-level", "info", "Lowest severity of the messages in the log file.", choices=LEVELS),
        _caller("no-datamd5", False, "Leave the MD5 sum of the data out of the products."),
        _caller("no-checksum", False, "Leave the FITS checksums out of the products."),
        _caller("man-page", False, "Show the manual page of the recipe that is named and exit.", in_config=False),
        _caller(
            "max-memory",
            "",
            "Memory that the recipe may take, such as 4G; by default 60 % of what is available.",
            environment="MUSE_MAX_MEMORY",
            in_config=False,
            hidden=True,
        ),
        _caller("mem-check", False, "Accepted and ignored: there is no CPL memory to check."),
        _caller("msg-level", "info", "Lowest severity of the messages on the terminal.", choices=LEVELS),
        _caller(
            "output-dir",
            ".",
            "Directory to which the products are moved; they are first written in the current one.",
        ),
        _caller(
            "output-prefix",
            "out",
            "New name of the products, followed by a number ('out_0000.fits'), if '--suppress-prefix' is FALSE.",
        ),
        _caller("output-readonly", False, "Make the products read-only."),
        _caller("paf-config", "", "Accepted for compatibility; no PAF files are written."),
        _caller(
            "params",
            False,
            "List all options of this command, and all parameters of the recipe that is named, and exit.",
        ),
        _caller(
            "plan",
            False,
            "Show what the recipe would need - memory, disk, time - and exit; nothing is written.",
            environment="",
            in_config=False,
            hidden=True,
        ),
        _caller(
            "products-sof",
            "",
            "File in which the products are listed, as set of frames, or as JSON if its name ends in .json.",
        ),
        _caller("recipes", False, "List the recipes and exit."),
        _caller("recipe-config", "", "Configuration file of the recipe."),
        _caller(
            "redo",
            False,
            "Make a product again: its name stands in the place of the recipe's, parameters that are to be others "
            "follow. Recipe, frames and parameters come from its header; the files are looked for below "
            "'--search-path', and in the folders of the product and the current one; they must be as they were.",
            environment="",
            in_config=False,
            hidden=True,
        ),
        _caller(
            "recipe-dir",
            recipe_dir,
            "Directories, separated by colons, that are searched for further recipes in Python (subclasses of PyCPL's "
            "PyRecipe), with their subdirectories. Native plugins in them are ignored. For the directory of our own "
            "native plugin, to be used with ESO's esorex, give the single option '--plugin-dir'.",
            environment="ESOREX_PLUGIN_DIR",
        ),
        _caller(
            "resume",
            "",
            "Directory in which a run keeps what it has done: after a kill the same command goes on from there.",
            environment="MUSE_RESUME",
            in_config=False,
            hidden=True,
        ),
        _caller(
            "scratch",
            "",
            "Directory of the scratch file; by default that of the products.",
            environment="MUSE_SCRATCH",
            in_config=False,
            hidden=True,
        ),
        _caller(
            "search-path",
            "",
            "Directories, separated by colons, in and below which '--redo' looks for files.",
            in_config=False,
            hidden=True,
        ),
        _caller("show-hidden", False, "Show hidden parameters of recipes in help texts.", environment=""),
        _caller("suppress-link", True, "Make no symbolic links to the products."),
        _caller("suppress-prefix", True, "Keep the names that the recipe gives to the products."),
        _caller("time", True, "Show the time that the recipe took."),
        _caller("unload-plugin", True, "Accepted for compatibility; nothing is unloaded."),
    ]


#: Further variables that recipes read, and what they are for.
VARIABLES = {
    "OMP_NUM_THREADS": "Number of threads; by default the cores that may be used.",
    "MUSE_COMPAT": "2.8.7: reproduce the defects of ESO's recipes of this version too.",
    "MUSE_PIXTABLE_SAVE_AS_TABLE": "1: write pixel tables as FITS tables, not as images.",
    "MUSE_DAR_CORRECT_METHOD": "Formula for the refractive index of the air: Filippenko, Owens, Edlen, or Ciddor.",
    "MUSE_AUTOCAL_EXCLUDE_RAMAN": "Width in Angstrom around Raman lines that the autocalibration leaves out.",
}


def by_name(options: Iterable[Option]) -> dict[str, Option]:
    """Return the options by their names on the command line."""
    return {option.name: option for option in options}
