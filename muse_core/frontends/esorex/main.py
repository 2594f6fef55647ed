# SPDX-License-Identifier: GPL-2.0-or-later
"""The command muse-esorex: runs recipes as ESO's esorex does, without CPL.

Same command line, configuration files, environment variables, messages, exit status and treatment of products; it can
be linked as ``esorex``. Deliberate differences are listed in docs/esorex.md.
"""

import contextlib
import errno
import os
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import muse_core.recipes
from muse_core import __version__
from muse_core.cplapi import core, messages
from muse_core.errors import MuseError
from muse_core.frontends import ending, registry
from muse_core.frontends.esorex import commandline, config, execution, layout, products, report
from muse_core.frontends.esorex.options import LEVELS, Option, ValueProblem, by_name, caller_options, recipe_options
from muse_core.io import litter
from muse_core.model.declare import did_you_mean

if TYPE_CHECKING:
    from muse_core.frontends.redo import Redo

USAGE_STATUS, NO_RECIPE_STATUS = 255, 13


def _libraries() -> str:
    names = {"NumPy": "numpy", "SciPy": "scipy", "Astropy": "astropy"}
    return "Libraries used: " + ", ".join(f"{name} = {_version(package)}" for name, package in names.items())


def _version(package: str) -> str:
    """Return the version of a package from the name of the folder in which its installer has noted it."""
    for folder in filter(os.path.isdir, sys.path):
        for name in os.listdir(folder):
            if name.startswith(f"{package}-") and name.endswith(".dist-info"):
                return name.removeprefix(f"{package}-").removesuffix(".dist-info")
    from importlib.metadata import version  # here, because its import takes a quarter of the time to say versions

    return version(package)


def _show_plugin_directory() -> int:
    """Print the folder of the native plugin, and nothing else, for use in scripts."""
    directory = registry.plugin_directory()
    if directory is None:
        report.error("This installation has no native plugin: it was built on a machine without the CPL headers.")
        return NO_RECIPE_STATUS
    report.text(directory)
    return 0


class Command:
    """One run of the command.

    Attributes
    ----------
    shows_text : bool
        Whether a text, as a list or help, is all that was asked for, and not a run of a recipe.
    """

    def __init__(self, program: str, arguments: Sequence[str]):
        self.shows_text = True
        self.program = program
        self.arguments = list(arguments)
        self.caller = caller_options(os.path.dirname(os.path.abspath(muse_core.recipes.__file__)))
        self._options = by_name(self.caller)
        self.goal = None  # a `Destination`, when there is a recipe to run

    def setting(self, name: str):
        """Return the value of an option of the command."""
        return self._options[name].value

    def run(self) -> int:
        """Do what the command line asks for; return the exit status."""
        if self.arguments == ["--plugin-dir"]:
            return _show_plugin_directory()
        if len(self.arguments) == 1 and self.arguments[0].startswith("--completion="):
            return self._show_completion()
        report.text(f"\n     ***** MUSE recipe execution tool, version {__version__}  *****\n")
        core.Msg.set_config(domain=self.program)
        try:
            used = self._read_settings()
            self._check_settings()
        except commandline.UsageError:
            report.text(f"\n{_libraries()}\n")
            return USAGE_STATUS
        rest = self.arguments[used:]
        if self.setting("completion"):
            report.error("--completion: found other options beside it, expected it alone")
            return USAGE_STATUS
        if self.setting("version"):
            report.text(f"{_libraries()}\n\nmuse-scipost {__version__}, GPL-2.0-or-later, without any warranty.\n")
            return 0
        if self.setting("recipes"):
            report.text(layout.recipe_list(self._recipes()))
            return 0
        if not rest:
            self._without_recipe()
            report.text(f"\n{_libraries()}\n")
            return 0
        with self._log_file():
            with_what = self._with_product if self.setting("redo") else self._with_recipe
            return with_what(rest[0], rest[1:])

    def _show_completion(self) -> int:
        """Print the script for a shell, and nothing else."""
        from muse_core.frontends import completion

        try:
            commandline.apply(commandline.leading_options(self.arguments, self.caller, {})[0])
        except commandline.UsageError:
            return USAGE_STATUS
        shell = self.setting("completion")
        commands = completion.shapes(caller_options(""), registry.find_recipes())
        report.text(completion.script(shell, commands).removesuffix("\n"))
        return 0

    def _read_settings(self) -> int:
        """Set the options from file, environment and command line; return the number of arguments used."""
        given, used = commandline.leading_options(self.arguments, self.caller, self._elsewhere())
        file = next((text or "" for option, text in reversed(given) if option.name == "config"), None)
        named = file is not None or "ESOREX_CONFIG" in os.environ
        file = os.environ.get("ESOREX_CONFIG", "") if file is None else file
        if named:
            self._require_file("config", file)
            if os.stat(file).st_mode & stat.S_IWOTH:
                report.error(f"Configuration file '{file}' can be written by everybody, expected one of ours alone")
                raise commandline.UsageError
        else:
            file = config.user_file("esorex.rc")
        if file is not None:
            try:
                config.read(file, self.caller)
            except config.ConfigError as error:
                if error.status == config.BAD_VALUE:
                    raise commandline.UsageError from None
        for option in self.caller:
            if option.environment in os.environ:
                text = os.environ[option.environment]
                try:
                    option.set_text(text)
                except ValueProblem as problem:
                    report.error(f"Environment variable {option.environment}: found '{text}', expected {problem}")
                    raise commandline.UsageError from None
        commandline.apply(given)
        self._given = {option.name for option, _ in given}
        levels = {name: core.Msg.SeverityLevel(number) for number, name in enumerate(LEVELS)}
        level = levels[self.setting("msg-level")]
        core.Msg.set_config(level=level, show_component=level == core.Msg.SeverityLevel.DEBUG)
        return used

    def _elsewhere(self) -> dict[str, str]:
        """Return the parameters of the recipe that the command line seems to name, for messages."""
        module = next((word for word in self.arguments if word in registry.built_in()), None)
        specs = registry.class_of(module).PARAMETERS if module else ()
        return {spec.name: f"a parameter of {module}, which belongs after the recipe's name" for spec in specs}

    def _require_file(self, name: str, path: str) -> None:
        if not path:
            was = "was " if name == "config" else ""
            report.error(f"'--{name}' was specified, but no argument {was}given.")
            raise commandline.UsageError
        if not os.path.exists(path):
            report.error(f"'--{name}={path}' was specified, but the file '{path}' could not be found.")
            raise commandline.UsageError

    def _check_settings(self) -> None:
        """Refuse settings that cannot work.

        Raises
        ------
        UsageError
            After a message.
        """
        problems = []
        if not self.setting("output-dir"):
            problems.append("No destination given for program output (use the option '--output-dir').")
        elif not os.path.isdir(self.setting("output-dir")):
            problems.append(f"The argument to '--output-dir' [{self.setting('output-dir')}] is not a valid directory")
        if not self.setting("suppress-link") and not os.path.isdir(self.setting("link-dir")):
            problems.append(f"The argument to '--link-dir' [{self.setting('link-dir')}] is not a valid directory")
            problems.append("Non-valid directory given for symbolic links.")
        if not os.path.isdir(self.setting("log-dir")):
            folder = self.setting("log-dir")
            problems.append(f"'--log-dir={folder}' specified, but '{folder}' is not a valid directory.")
        if not self.setting("log-file"):
            problems.append(
                "'--log-file' is a mandatory option, but no argument was given.  Check that there is only an equals "
                "sign (\"=\") between the '--log-file' and the file path, and that all environment variables are "
                "resolved."
            )
        if not self.setting("suppress-prefix") and not self.setting("output-prefix"):
            report.warning("Output file prefixes have been disabled using the '--suppress-prefix' option.")
            problems.append("However, no valid prefix has been given using the '--output-prefix' option.")
            problems.append("Use '--help' (without specifying any recipe) for help on these command options")
        paf = self.setting("paf-config")
        if paf and not os.access(paf, os.R_OK):
            problems.append(f"'--paf-config={paf}' specified, but '{paf}' could not be opened for reading.")
        for problem in problems:
            report.error(problem)
        if problems:
            raise commandline.UsageError
        if "recipe-config" in self._given or self.setting("recipe-config"):
            self._require_file("recipe-config", self.setting("recipe-config"))

    def _recipes(self) -> dict:
        option = self._options["recipe-dir"]
        directories = [] if option.value == option.default else option.value.split(":")
        directories += os.environ.get("PYESOREX_PLUGIN_DIR", "").split(":")
        for directory in filter(None, directories):
            if not os.path.isdir(directory):
                report.warning(f"Unable to open directory {directory}")
        return registry.find_recipes(filter(None, directories), report.warning)

    def _without_recipe(self) -> None:
        if self.setting("create-config") != "FALSE":
            self._create_config(self.caller, "")
        elif self.setting("help"):
            report.text(layout.command_help(self.program, self.caller))
        elif self.setting("params"):
            self._list_options()

    def _list_options(self) -> None:
        report.text(layout.parameter_list("Caller", [option for option in self.caller if not option.hidden]))

    def _create_config(self, options: Sequence[Option], recipe: str) -> None:
        path = self.setting("create-config")
        if path in ("", "TRUE"):
            folder = config.user_directory()
            if folder is None:
                report.error("There is no $HOME for a configuration file: give its name, as '--create-config=FILE'")
                return
            if not folder.is_dir():
                report.warning(
                    f"No global configuration directory exists. Creating global configuration directory '{folder}'"
                )
                folder.mkdir(parents=True)
            path = folder / f"{recipe or 'esorex'}.rc"
        config.write(Path(path), options, f"{self.program} (v{__version__})", recipe)

    @contextlib.contextmanager
    def _log_file(self) -> Iterator[None]:
        level = core.Msg.SeverityLevel(LEVELS.index(self.setting("log-level")))
        if level != core.Msg.SeverityLevel.OFF:
            path = os.path.join(self.setting("log-dir"), self.setting("log-file"))
            try:
                core.Msg.start_file(level, path)
            except OSError as error:
                report.warning(f"Unable to write the log file '{path}' ({error.strerror}); the run goes on without")
        terminal = core.Msg.get_config()["level"]
        core.Msg.set_config(level=core.Msg.SeverityLevel.OFF)
        report.info(f"This is {self.program}, version {__version__}")
        report.info(_libraries().replace("Libraries used", "using the libraries"))
        report.info(f"Invocation command line was: {' '.join([sys.argv[0], *self.arguments])}")
        core.Msg.set_config(level=terminal)
        try:
            with messages.forward_logging(core.Msg):
                yield
        finally:
            core.Msg.stop_file()

    def _with_product(self, product: str, rest: Sequence[str]) -> int:
        """Make a product again, or show what that takes."""
        from muse_core.frontends.redo import Redo

        dry = self.setting("dry-run") or "--dry-run" in rest
        rest = [word for word in rest if word != "--dry-run"]
        try:
            again = Redo.of(product, filter(None, str(self.setting("search-path")).split(":")))
            if not dry and self.setting("suppress-prefix"):
                again.refuse_own_place(self.setting("output-dir"))
        except MuseError as error:
            report.error(str(error))
            return execution.FAILED
        report.info(f"{product}: made by {again.recipe} of {again.pipeline} from {len(again.inputs)} files")
        return self._with_recipe(again.recipe, rest, again, only_show=dry)

    def _with_recipe(self, name: str, rest: Sequence[str], again: "Redo | None" = None, *, only_show=False) -> int:
        if self.setting("params"):
            self._list_options()
        recipe = registry.built_in_recipe(name)  # without a look at others: none replaces it
        if recipe is None:
            recipe = (recipes := self._recipes()).get(name)
        if recipe is None:
            report.error(
                f"Unable to find recipe '{name}'. Check that the recipe is in the path specified by the "
                f"'--recipe-dir' option{did_you_mean(name, recipes) or '.'}"
            )
            return NO_RECIPE_STATUS
        core.Msg.set_config(show_time=True)
        options = recipe_options(recipe)
        try:
            used = self._read_parameters(recipe, options, rest, again)
        except config.ConfigError as error:
            return error.status
        except commandline.UsageError:
            return USAGE_STATUS
        if self.setting("create-config") != "FALSE":
            self._create_config(options, name)
        elif self.setting("params"):
            report.text(layout.parameter_list("Recipe", options))
        elif self.setting("help"):
            text = layout.recipe_help(self.program, recipe, options, self.setting("show-hidden"))
            report.text(text.removesuffix("\n"))
        elif self.setting("man-page"):
            text = layout.man_page(self.program, recipe, options, self.setting("show-hidden"))
            report.text(text.removesuffix("\n"))
        else:
            self.shows_text = bool(self.setting("plan")) or only_show
            self._set_environment()
            try:
                if again is None:
                    frames = execution.load_frames(rest[used:], self.setting("check-sof-exist"))
                else:
                    from muse_core.frontends.esorex import redoing

                    if only_show:
                        return redoing.show(again, options, rest[used:])
                    frames = redoing.frames(again, rest[used:])
            except execution.FramesError:
                return execution.CANNOT_OPEN
            try:
                self.goal = products.destination(self.setting)
            except products.ProductsError as error:
                return error.status
            return execution.execute(recipe, options, frames, self.setting, self.goal)
        return 0

    def _set_environment(self) -> None:
        """Give the settings that recipes find in the environment to those that run."""
        for option in self.caller:
            if option.environment.startswith("MUSE_") and option.value:
                os.environ[option.environment] = option.value

    def _read_parameters(
        self, recipe, options: Sequence[Option], arguments: Sequence[str], again: "Redo | None" = None
    ) -> int:
        """Set the parameters of the recipe from files and command line; return the number of arguments used.

        For a product that is made `again` its header takes the place of the user's file.
        """
        if again is not None:
            from muse_core.frontends.esorex import redoing

            redoing.set_parameters(again, options)
        own = config.user_file(f"{recipe.name}.rc") if again is None else None
        for path in (own, self.setting("recipe-config")):
            if path:
                config.read(path, options)
        of_command = dict.fromkeys(
            self._options, f"an option of {self.program}, which belongs before the recipe's name"
        )
        given, used = commandline.leading_options(arguments, options, of_command)
        commandline.apply(given)
        return used


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str
        Command line without the name of the program; by default that of the process.
    program : str
        Name of the program in messages; by default that under which the process was started.

    Returns
    -------
    int
        Exit status.
    """
    program = program or Path(sys.argv[0]).name or "muse-esorex"

    def stopped(number: int) -> NoReturn:
        delivered = command.goal is not None and command.goal.delivered
        fate = "all products are in their places" if delivered else "no product has been kept"
        report.error(f"Stopped by {signal.Signals(number).name}; {fate}.")
        ending.die(number)

    def overdue(number: int) -> NoReturn:
        litter.clean_up()
        stopped(number)

    messages.open_standard_streams()
    command = Command(program, sys.argv[1:] if arguments is None else arguments)
    try:
        with ending.watched(overdue):
            status = command.run()
    except ending.Stopped as stop:
        stopped(stop.number)
    if command.shows_text and "stdout" in messages.lost:
        error = messages.lost["stdout"]
        if error.errno == errno.EPIPE:  # the reader has gone, as in `muse-esorex --help | head -1`
            return 128 + signal.SIGPIPE
        report.error(f"Unable to write to standard output: {error.strerror}")
        return USAGE_STATUS
    return status


if __name__ == "__main__":
    sys.exit(main())
