"""Config files: the options of a command, read from a file and written to one.

The file is TOML::

    seed = 3                     # outside any table: for every command that reads the file

    [train]                      # in a table named after a command: for this command only
    data = "synth.zarr"          # inputs, by the name of the argument
    epochs = 20                  # options, by their long name; batch_size is batch-size
    prune = [0, 1]               # repeatable options: one value, or a list
    keep-last = false            # flags: true or false

    [extract.images]
    images = "photos"

``data`` (train, study), ``models`` (predict, features), ``stores`` (hellinger), ``tables`` (report)
and ``manifest`` (extract; ``source`` for extract mri) are arguments; all else are options. Relative
paths start from the folder in which the command is run, as on the command line.

The values become words of the command line, so that they are parsed like typed ones. A parameter
that is also typed keeps only its typed values. YAML of the same structure is read where PyYAML is
installed.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperOption

from skiptool.cli.paths import stdin_text
from skiptool.errors import ArgumentError, FormatError, suggestion

STDIN: Final = "-"

_YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class _Key:
    """A name that a parameter has in a config file; ``negative`` for ``no-...`` of a flag."""

    parameter: Any
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Expansion:
    """Words of the command line that a config file stands for.

    Attributes
    ----------
    options, arguments : sequence of str
    places : mapping
        File and key by parameter, to be named in errors.
    """

    options: Sequence[str]
    arguments: Sequence[str]
    places: Mapping[str, str]

    def around(self, typed: Sequence[str]) -> list[str]:
        """Return the words of the file and the typed ones, as one command line."""
        separator = ["--"] if self.arguments and "--" not in typed else []
        return [*self.options, *typed, *separator, *self.arguments]


# Reading


def expand(file: str, context: typer.Context, typed: Mapping[str, Any]) -> Expansion:
    """Read the values of a command from a config file.

    Parameters
    ----------
    file : str
        Path of the file, or ``-`` for TOML on stdin.
    context : typer.Context
        Context of the command.
    typed : mapping
        Parsed words of the command line, by parameter; these parameters keep their values.

    Raises
    ------
    ArgumentError
        If the file cannot be read, or holds an unknown key, a key twice, or a value of a wrong
        type.
    """
    where = "stdin" if file == STDIN else file
    path = command_path(context)
    command = context.command
    keys = _keys(command)
    options: list[str] = []
    arguments: list[str] = []
    used: dict[str, str] = {}
    applied: dict[str, str] = {}
    for table, name, value in _values(_read(file), where, path, context.find_root().command):
        shown = f"{name!r} in {table}" if table else repr(name)
        key = keys.get(name.replace("_", "-"))
        if key is None:
            hint = suggestion(name.replace("_", "-"), keys)
            raise ArgumentError(f"{where}: unknown key {shown} of skiptool {path}{hint}")
        parameter = key.parameter
        if parameter.name in used:
            earlier = used[parameter.name]
            again = "a second time" if earlier == shown else f"after {earlier}"
            raise ArgumentError(f"{where}: {shown} is given {again}; keep one of them")
        used[parameter.name] = shown
        words = _words_of(key, value, f"{where}: {shown}")
        if not _is_typed(typed.get(parameter.name)):
            applied[parameter.name] = f"{where}: {shown}"
            (options if isinstance(parameter, TyperOption) else arguments).extend(words)
    return Expansion(options, arguments, applied)


def command_path(context: typer.Context) -> str:
    """Return the name of a command without that of the program: ``extract wsi``."""
    return context.command_path.partition(" ")[2]


def _is_typed(value: object) -> bool:
    """Return whether a value comes from the command line: the parser fills in what is absent."""
    return isinstance(value, str | bool) or (isinstance(value, list | tuple) and bool(value))


def _keys(command: Any) -> dict[str, _Key]:  # noqa: ANN401 - a command of typer's own click
    """Return the keys of a command: arguments by name, options by their long names."""
    keys = {}
    for parameter in command.params:
        if not isinstance(parameter, TyperOption):
            keys[parameter.name] = _Key(parameter)
        elif parameter.name != "config":
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--"):
                    keys[option[2:]] = _Key(parameter, option in parameter.secondary_opts)
    return keys


def _read(file: str) -> Mapping[str, Any]:
    if file == STDIN:
        return _parse_toml(stdin_text("the config"), "stdin")
    try:
        text = Path(file).read_text("utf-8-sig")
    except OSError as error:
        raise ArgumentError(f"--config {file}: {error.strerror or error}") from None
    except ValueError:  # not UTF-8, or a zero byte in the path
        raise ArgumentError(f"--config {file}: is no text in UTF-8") from None
    suffix = Path(file).suffix.lower()
    return _parse_yaml(text, file) if suffix in _YAML else _parse_toml(text, file)


def _parse_toml(text: str, where: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(f"{text}\n")  # otherwise an error in the last line has no number
    except (ValueError, RecursionError) as error:  # of numbers of thousands of digits, too
        line = re.search(r"\(at line (\d+)", str(error))
        if line is None or "Cannot" not in str(error):  # cannot overwrite, declare ... twice
            raise ArgumentError(f"{where}: is not valid TOML: {error}") from None
        written = text.splitlines()[int(line[1]) - 1].partition("=")[0].strip()
        raise ArgumentError(f"{where}: line {line[1]}: {written} is given twice") from None


def _parse_yaml(text: str, where: str) -> Mapping[str, Any]:
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise ArgumentError(
            f"{where}: YAML is read with PyYAML, which is not installed; install it, or write TOML"
        ) from None

    def unique(loader: Any, node: Any) -> dict[Any, Any]:  # noqa: ANN401 - PyYAML has no types
        pairs = [tuple(loader.construct_object(part, deep=True) for part in p) for p in node.value]
        found: dict[Any, Any] = {}
        for key, value in pairs:
            if not isinstance(key, str) or key in found:
                fault = "is given twice" if isinstance(key, str) else "is no text"
                raise ArgumentError(f"{where}: key {key!r} {fault}")
            found[key] = value
        return found

    loader: Any = type("UniqueKeys", (yaml.SafeLoader,), {})
    loader.add_constructor("tag:yaml.org,2002:map", unique)
    try:
        document = yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise ArgumentError(f"{where}: is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ArgumentError(f"{where}: expected keys and values, such as 'epochs: 20'")
    return document


def _values(
    document: Mapping[str, Any],
    where: str,
    path: str,
    root: Any,  # noqa: ANN401 - a group of typer's own click
) -> Iterator[tuple[str, str, Any]]:
    """Yield table, key and value of what is outside any table and in the table of a command."""
    applied = False
    for name, value in document.items():
        if not isinstance(value, dict):
            applied = True
            yield "", name, value
    for table, values in _tables(document, where, root, ()):
        if table == path:
            applied = True
            shown = f"[{table.replace(' ', '.')}]"
            yield from ((shown, name, value) for name, value in values.items())
    if not document:
        raise ArgumentError(f"{where}: holds no keys; did the command that wrote it fail?")
    if not applied:
        raise ArgumentError(
            f"{where}: has no table [{path.replace(' ', '.')}]; add it, or move the keys of this "
            "command out of the other tables"
        )


def _tables(
    document: Mapping[str, Any],
    where: str,
    group: Any,  # noqa: ANN401 - a group of typer's own click
    parents: tuple[str, ...],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tables of commands by name (``extract wsi``); refuse all others."""
    for name, value in document.items():
        shown = ".".join((*parents, name))
        if not isinstance(value, dict):
            if parents:
                raise ArgumentError(
                    f"{where}: key {name!r} in [{'.'.join(parents)}]: expected it in a table of a "
                    f"command, such as [{parents[-1]}.{next(iter(group.commands))}]"
                )
            continue
        command = group.commands.get(name)
        if command is None:
            hint = suggestion(name, group.commands) or "; tables are named after commands"
            raise ArgumentError(f"{where}: unknown table [{shown}]{hint}")
        if hasattr(command, "commands"):
            yield from _tables(value, where, command, (*parents, name))
        else:
            yield " ".join((*parents, name)), value


def _words_of(key: _Key, value: object, where: str) -> list[str]:
    """Return the words that give a parameter a value, without the checks that typer makes."""
    parameter = key.parameter
    if isinstance(parameter, TyperOption) and parameter.is_flag:
        if not isinstance(value, bool):
            raise ArgumentError(f"{where}: expected true or false, without quotes")
        names = parameter.opts if value is not key.negative else parameter.secondary_opts
        return [_long(names)] if names else []
    values = value if isinstance(value, list) else [value]
    texts = [_text(item, where) for item in values]
    if parameter.nargs > 1:
        if len(texts) != parameter.nargs:
            raise ArgumentError(f"{where}: expected a list of {parameter.nargs} values")
        return [_long(parameter.opts), *texts]
    if not isinstance(parameter, TyperOption):
        if len(texts) != 1 and parameter.nargs == 1:
            raise ArgumentError(f"{where}: takes one value, not a list of {len(texts)}")
        return texts
    if isinstance(value, list) and not parameter.multiple:
        raise ArgumentError(f"{where}: takes one value, not a list")
    return [f"{_long(parameter.opts)}={text}" for text in texts]


def _long(names: Sequence[str]) -> str:
    return next(name for name in names if name.startswith("--"))


def _text(value: object, where: str) -> str:
    if isinstance(value, bool):
        raise ArgumentError(f"{where}: expected a value, not true or false")
    if not isinstance(value, str | int | float):
        raise ArgumentError(f"{where}: expected text in quotes or a number")
    return str(value)


# Writing


def table_of(command: str, root: Any, where: str) -> tuple[str, list[str]]:  # noqa: ANN401
    """Write a recorded command as a table of a config file.

    Parameters
    ----------
    command : str
        Command as recorded in an artifact.
    root : click.Group
        ``skiptool``, of typer's own click.
    where : str
        The artifact, for errors.

    Returns
    -------
    name : str
        Name of the command, such as ``extract wsi``.
    lines : list of str
        The table.

    Raises
    ------
    FormatError
        If this version has no such command or options.
    """
    words = shlex.split(command)[1:]
    group, names = root, []
    while hasattr(group, "commands") and words and words[0] in group.commands:
        names.append(words.pop(0))
        group = group.commands[names[-1]]
    if not isinstance(group, TyperCommand):
        raise FormatError(f"{where}: was made by {command!r}, which this version does not have")
    name = " ".join(names)
    context = typer.Context(group, info_name=name)
    try:
        values, _, order = group.make_parser(context).parse_args(args=words)
    except Exception as error:  # NoSuchOption, which has another home in each version of typer
        reason = str(getattr(error, "message", error)).rstrip(".")
        raise FormatError(
            f"{where}: was made by a version with other options ({reason}); 'skiptool info "
            "--command' prints the command"
        ) from None
    lines = [f"[{'.'.join(names)}]"]
    given = [parameter for parameter in group.params if parameter in order]
    for parameter in sorted(given, key=lambda one: isinstance(one, TyperOption)):
        if _is_typed(values[parameter.name]):
            lines.append(_assignment(parameter, values[parameter.name]))
    return name, lines


def _assignment(parameter: Any, value: Any) -> str:  # noqa: ANN401 - a parameter of typer's click
    """Return ``key = value``, as a comment if the value cannot be used again."""
    is_option = isinstance(parameter, TyperOption)
    key = _long(parameter.opts)[2:] if is_option else str(parameter.name)
    if isinstance(value, bool):
        return f"{key} = {str(value).lower()}"
    texts = [value] if isinstance(value, str) else [*value]
    literals = ", ".join(map(_literal, texts))
    line = f"{key} = {literals}" if isinstance(value, str) else f"{key} = [{literals}]"
    if not is_option and STDIN in texts:
        return f"# {line}  # was read from stdin; give the path of a file"
    if any(not _is_utf8(text) for text in texts):
        return f"# {line}  # has a name that is not in UTF-8, which TOML cannot hold"
    if any("://" in text for text in texts):
        return f"{line}  # credentials and queries of URLs are not recorded; add them if needed"
    return line


_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?")


def _literal(text: str) -> str:
    """Return a TOML literal that is read back as the same text.

    Examples
    --------
    >>> _literal("20"), _literal("0.0001"), _literal("007"), _literal("a b")
    ('20', '0.0001', '"007"', '"a b"')
    """
    if _INTEGER.fullmatch(text) or (_FLOAT.fullmatch(text) and str(float(text)) == text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04X}" if ord(letter) < 1 << 16 else f"\\U{ord(letter):08X}"


def _is_utf8(text: str) -> bool:
    return not any(0xD800 <= ord(letter) < 0xE000 for letter in text)
