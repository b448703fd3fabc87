"""``sdtui completion SHELL``: the few lines with which a shell asks ``sdtui __complete``."""

import argparse
import sys

# COMP_WORDS and not COMP_LINE: a caller that sets up the first alone gets its answer, too.
_BASH = r"""_sdtui() {
    local IFS=$'\n' mode
    { IFS= read -r mode && mapfile -t COMPREPLY; } < <(
        command "${1:-sdtui}" __complete bash "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
    if [[ $mode == files ]]; then
        compopt -o filenames 2>/dev/null || true
    fi
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null || true
    fi
}
complete -F _sdtui sdtui
"""
_ZSH = r"""#compdef sdtui
_sdtui() {
    local -a found open shut
    found=("${(@f)$(command sdtui __complete zsh "${(@Q)words[1,CURRENT]}" 2>/dev/null)}")
    shift found
    open=(${(M)found:#*[=/]})
    shut=(${found:#*[=/]})
    (( $#open )) && compadd -S '' -a open
    (( $#shut )) && compadd -a shut
    (( $#found ))
}
if [[ ${funcstack[1]-} == _sdtui ]]; then
    _sdtui "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _sdtui sdtui
fi
"""
_FISH = r"""function __sdtui_complete
    command sdtui __complete fish (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c sdtui -f -a '(__sdtui_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(args: argparse.Namespace) -> int:
    """Write the script; the shell that is to know it reads it at its start."""
    sys.stdout.write(_SCRIPTS[args.shell])
    return 0
