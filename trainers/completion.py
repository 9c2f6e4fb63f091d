"""Completion of mixed-nash for bash and zsh: commands, flags, experiments, keys and their values.

    source <(mixed-nash completion --shell=bash)      # bash, in ~/.bashrc to keep it
    source <(mixed-nash completion --shell=zsh)       # zsh, behind compinit

What is printed is a script of constants: it starts no Python at a press of Tab. Print it anew after
an update.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from absl import flags

import configs
from tf_mixed_nash.__main__ import COMMANDS
from trainers.experiment import settings
from trainers.system import cli, discovery, names

__all__ = ["candidates", "script"]

_SHELLS = ("bash", "zsh")
# Commands whose --config is an experiment, with its keys as flags.
_OF_EXPERIMENTS = ("run", "many", "sweep")


def candidates(command: str) -> Mapping[str, Iterable[str]]:
    """What may follow a command: `--flag` without a value, or `--flag=` -> the values it knows.

    Args:
      command: one of COMMANDS.

    Returns:
      "--flag" -> () for booleans, "--flag=" -> values; () stands for any, such as a file.
    """
    path = names.ROOT / f"{COMMANDS[command].replace('.', '/')}.py"
    found: dict[str, Iterable[str]] = {"--help": (), **_flags(path.read_text(encoding="utf-8"))}
    if command in _OF_EXPERIMENTS:
        found["--config="] = configs.names()
    if command == "run":
        values = {
            "algorithm": names.algorithms(),
            "dataset": [name for name in names.datasets() if name.islower()],
            "game.objective": names.objectives(),
            "publish": settings.ANSWERS,
        }
        found |= {f"--config.{key}=": values.get(key, ()) for key in discovery.KEYS}
    return found


def _flags(text: str) -> dict[str, Iterable[str]]:
    """The flags that a module defines, read from its text: importing it may load TensorFlow."""
    tree, found = ast.parse(text), {}
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "attr", "")
        if not name.startswith("DEFINE_"):
            continue
        assert isinstance(node, ast.Call)
        first, *more = node.args
        if isinstance(first, ast.Name):  # in a loop over a dict of texts
            functions = (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef))
            within = ast.walk(next(f for f in functions if node in ast.walk(f)))
            dicts = [one for one in within if isinstance(one, ast.Dict)]
            found |= {f"--{ast.literal_eval(k)}=": () for one in dicts for k in one.keys if k}
            continue
        flag = f"--{ast.literal_eval(first)}"
        if name in ("DEFINE_bool", "DEFINE_boolean"):
            found[flag] = ()
        elif name == "DEFINE_enum":
            values = more[1]
            if isinstance(values, ast.Name):
                values = constants[values.id]
            found[f"{flag}="] = ast.literal_eval(values)
        else:
            found[f"{flag}="] = ()
    return found


def script(shell: str) -> str:
    """The script that a shell sources.

    Args:
      shell: "bash" or "zsh".
    """
    first = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    flags_of, values_of = [], []
    for command in COMMANDS:
        found = candidates(command)
        flags_of.append(f"    {command}) words='{' '.join(found)}' ;;")
        for flag, values in found.items():
            if some := " ".join(flag + value for value in values):
                values_of.append(f"    {command}' '{flag}*) words='{some}' ;;")
    return first + _SCRIPT.format(
        commands=" ".join((*COMMANDS, "--help", "--version")),
        flags="\n".join(flags_of),
        values="\n".join(values_of),
    )


# bash takes = and : for ends of words, so that the word is read from the line, and what it has
# before its last = or : is taken off the answers again. zsh completes whole words.
_SCRIPT = """\
_mixed_nash() {{
  local line=${{COMP_LINE:0:$COMP_POINT}} word words= before= answer end=' '
  word=${{line##*[[:space:]]}}
  local rest=${{line#*[[:space:]]}}
  local name=${{rest%%[[:space:]]*}}
  if [[ $rest != *[[:space:]]* ]]; then
    words='{commands}'
  else case "$name $word" in
{values}
    *' '--*=*) ;;
    *) case "$name" in
{flags}
    esac ;;
  esac fi
  if [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    end=/
    before=${{word%%=*}}=
    COMPREPLY=($(compgen -f -- "${{word#*=}}"))
    COMPREPLY=("${{COMPREPLY[@]/#/$before}}")
  fi
  if [[ -n $BASH_VERSION ]]; then
    before=${{word%"${{word##*[=:]}}"}}
    COMPREPLY=("${{COMPREPLY[@]#"$before"}}")
  fi
  if [[ ${{#COMPREPLY[@]}} == 1 ]]; then
    for answer in "${{COMPREPLY[@]}}"; do
      [[ $answer == *= ]] || {{ [[ $end == / && ! -d ${{answer#*=}} ]] && end=' '; \
        COMPREPLY=("$answer$end"); }}
    done
  fi
}}
complete -o nospace -F _mixed_nash mixed-nash
"""


def main() -> None:
    """The command."""
    print(script(flags.FLAGS.shell), end="")


if __name__ == "__main__":
    flags.DEFINE_enum("shell", "bash", _SHELLS, "Whose script it is.")
    cli.main(main)
