"""What docker and podman have in common.

Variables travel by name: the client takes their values from its own environment, so that no
secret is in an argument and a value may hold newlines. The client passes SIGTERM on to the first
process of the container and to no other, so the command is started by a few lines of bash that
pass it on to all, as the stop ladder does outside; forked helpers of a Python program are left
to it, since a loader worker that gets a SIGTERM takes its trainer down in the middle of a save.
Nothing but bash itself is used: an image may hold no other program.
"""

from sdcore.launch.runtimes.job import Bind, Job

# Starts its arguments, and passes a SIGTERM on to every process of which ``mine`` is true. A shell
# dies of it and leaves its trainer to save, so the end waits for all that were told. One that is
# gone by then has no start: noted without, it would be waited for until the grace is over.
TELLING = r"""
words() { mapfile -d '' -t w 2>/dev/null < "/proc/$1/cmdline" && printf '%s ' "${w[@]}"; }
origin() {
  read -r line 2>/dev/null < "/proc/$1/stat" && set -- ${line##*) } && printf %s "$2 ${20} $1"
}
told=' '
tell() {
  new=()
  for each in /proc/[0-9]*; do
    pid=${each#/proc/}
    { [ "$pid" -le 1 ] || [ "$pid" = $$ ]; } && continue
    mine "$pid" || continue
    set -- $(origin "$pid")
    [ -n "$2" ] || continue
    case $told in *" $pid:$2 "*) continue ;; esac
    said=$(words "$pid")
    case $said in
      *python*) [ "$said" = "$(words "$1")" ] && continue ;;
    esac
    told+="$pid:$2 "
    new+=("$pid")
  done
  for pid in "${new[@]}"; do kill -TERM "$pid" 2>/dev/null; done
}
saving() {
  for each in $told; do
    set -- $(origin "${each%:*}")
    [ "$2" = "${each#*:}" ] && [ "$3" != Z ] && return 0
  done
  return 1
}
trap tell TERM
"$@" &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
code=$?
exec {never}<> <(:)
while saving; do read -rt 0.2 -u "$never"; [ $? -gt 128 ] || sleep 0.2; done
exit "$code"
"""
# In a container with a pid namespace of its own, all but its first process.
TELL_ALL = "mine() { :; }" + TELLING


def started(argv: list[str]) -> list[str]:
    """Return the command, started so that a SIGTERM reaches every program of the container."""
    return ["-c", TELL_ALL, "sdtui", *argv]


def mount_words(binds: tuple[Bind, ...]) -> list[str]:
    """Return the mounts as options. Commas and colons were refused when the task was read."""
    words = []
    for bind in binds:
        end = ",readonly" if bind.read_only else ""
        places = f"{_field(f'src={bind.source}')},{_field(f'dst={bind.target}')}"
        words += ["--mount", f"type=bind,{places}{end}"]
    return words


def _field(text: str) -> str:
    """Return one field of a line of comma-separated values, which both clients read it as."""
    return '"' + text.replace('"', '""') + '"' if '"' in text else text


def run_words(job: Job) -> list[str]:
    """Return the options that both clients know, the image and the command.

    One network and one shared memory with the host: NCCL needs both.
    """
    names = sorted({*job.env, *job.facts.passed, "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"})
    assert job.image is not None, "the task was refused without one"
    return [
        *("--network=host", "--ipc=host", "--log-driver=none", "--env=HOME=/tmp"),
        *(word for name in names for word in ("--env", name)),
        *mount_words(job.binds),
        *("--workdir", job.folder, "--entrypoint", "bash", job.image),
        *started(job.argv),
    ]
