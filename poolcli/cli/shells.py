"""How bash, zsh and fish ask what to offer, and are told. Loaded only when one of them asks.

A script hands over the command line up to the cursor, in COMP_LINE, and reads a line per answer,
its fields set apart by tabs:

    whole  TEXT             a word, which a space follows
    part   TEXT             what a word begins with, which goes on
    files  PATTERN  BEFORE  folders, and files that match; BEFORE is what stands before the path

Click's own scripts know no parts, and lose their way in ``max:2,stride=``, which is four words to
bash.
"""

from __future__ import annotations

import os
from typing import ClassVar

from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from poolcli.cli.completion import FOLDERS


def register() -> None:
    """Let Click answer through these classes instead of its own."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)


class _Shell(ShellComplete):
    """What the shells have in common."""

    def get_completion_args(self) -> tuple[list[str], str]:
        # The mark makes a word of what is still empty, and is taken off again.
        words = split_arg_string(f"{os.environ.get('COMP_LINE', '')}_")
        return words[1:-1], words[-1][:-1]

    def complete(self) -> str:
        args, typed = self.get_completion_args()
        # Click offers the values of --option=VALUE, without what stands before them.
        option, equals, _ = typed.partition("=")
        before = option + equals if equals and option.startswith("--") else ""
        if equals and option.startswith("-") and not before:
            return ""  # The sign would belong to the value of a short option.
        answers = []
        for item in self.get_completions(args, typed):
            if item.type == "plain":
                text = before + item.value
                kind = "part" if text.endswith((":", "=", ",")) else "whole"
                fields = (kind, *self.told(text, " ".join((item.help or "").split()), typed))
            else:
                pattern = item.pattern or ("*" if item.type == "file" else FOLDERS)
                fields = ("files", pattern, typed.removesuffix(item.value))
            # What no line can hold is not offered: a typed tab, bytes that are no text.
            if all(field.isprintable() for field in fields):
                answers.append("\t".join(fields))
        return "\n".join(answers)

    def told(self, text: str, meaning: str, typed: str) -> tuple[str, ...]:  # noqa: ARG002 - bash needs it
        """Return what tells the shell of a word that is to stand instead of what is typed."""
        return text, meaning


class _Bash(_Shell, BashComplete):
    """Bash replaces what stands behind the last of its word breaks, which include ``:`` and ``=``.

    It is told no more than what is to be added to that, so that neither breaks nor quotes matter.
    """

    source_template: ClassVar[str] = r"""
%(complete_func)s() {
    local kind text before
    COMPREPLY=()
    while IFS=$'\t' read -r kind text before; do
        case $kind in
            whole) COMPREPLY+=("$2$text") ;;
            part)
                COMPREPLY+=("$2$text")
                compopt -o nospace
                ;;
            files)
                mapfile -t COMPREPLY < <(
                    compgen -f -X "!$text" -- "$2"
                    compgen -d -X "$text" -- "$2"
                )
                compopt -o filenames
                ;;
        esac
    done < <(
        COMP_LINE=${COMP_LINE:0:COMP_POINT} %(complete_var)s=bash_complete \
            "${1/#\~/$HOME}" 2> /dev/null
    )
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def told(self, text: str, meaning: str, typed: str) -> tuple[str, ...]:  # noqa: ARG002 - bash shows no meanings
        return (text.removeprefix(typed),)


class _Zsh(_Shell, ZshComplete):
    """Zsh shows meanings, behind the first colon that no backslash protects."""

    source_template: ClassVar[str] = r"""#compdef %(prog_name)s

%(complete_func)s() {
    local kind text before
    local -a whole part
    while IFS=$'\t' read -r kind text before; do
        case $kind in
            whole) whole+=("$text") ;;
            part) part+=("$text") ;;
            files)
                compset -P "${(b)before}"
                if [[ $text == '*/' ]]; then
                    _files -/
                else
                    _files -g "$text"
                fi
                ;;
        esac
    done < <(
        COMP_LINE="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX" \
            %(complete_var)s=zsh_complete ${~words[1]} 2> /dev/null
    )
    _describe -V values part -S ''
    _describe -V values whole
    (( compstate[nmatches] ))
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

    def told(self, text: str, meaning: str, typed: str) -> tuple[str, ...]:  # noqa: ARG002 - it matches by itself
        protected = text.replace("\\", r"\\").replace(":", r"\:")
        return (f"{protected}:{meaning}" if meaning else protected,)


class _Fish(_Shell, FishComplete):
    """Fish shows meanings, and adds no space behind ``:``, ``=`` and a comma."""

    source_template: ClassVar[str] = r"""
function %(complete_func)s
    set -l line (commandline -cp | string collect)
    for answer in (env COMP_LINE=$line %(complete_var)s=fish_complete %(prog_name)s 2> /dev/null)
        set -l fields (string split \t -- $answer)
        switch $fields[1]
            case whole part
                printf '%%s\t%%s\n' $fields[2..3]
            case files
                set -l begun (string replace -- "$fields[3]" '' (commandline -ct))
                for path in (complete -C "'' $begun" | string split -f 1 \t)
                    if string match -q -- $fields[2] $path; or string match -q -- '*/' $path
                        printf '%%s\n' $fields[3]$path
                    end
                end
        end
    end
end

complete --command %(prog_name)s --no-files --keep-order --arguments '(%(complete_func)s)'
"""
