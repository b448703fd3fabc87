"""What the core tells in English, in the language of the console.

The core writes its reasons, causes and remedies into files and onto the command line in English;
here its sentences are known again by their templates. One that is not known stays as it is: never
is anything left out or made up.
"""

import re
from functools import lru_cache

from sdtui.language import N_, _, language

CORE = (
    # How a run ended, and what it waits for.
    N_("training finished"), N_("the start command ended with code {code}"),
    N_("rank {rank} ran out of GPU memory"), N_("the loss is not finite"),
    N_("the kernel killed a process of the run because the host ran out of memory"),
    N_("stopped by {who}; a checkpoint was saved"),
    N_("stopped by {who}, without saving a checkpoint"),
    N_("stopped by {who} while it waited for GPUs"), N_("rank {rank} failed"),
    N_("the start command could not be executed: {why}"),
    N_("the start command was ended by {signal}, which sdtui did not send"),
    N_("the process that guards the run was killed, and the run was ended with it"),
    N_("its launcher is gone"), N_("a look at the GPUs"), N_("its folder was removed"),
    N_("the launch did not finish"),
    N_("supervisor lost: it was killed before it could record an end"),
    N_("supervisor lost: it ran on {host}, and nobody holds the run's lock"),
    N_("reboot: the machine was restarted during the run"),
    N_("exit.json is damaged; how the run ended is not known"),
    N_("halve train.train_batch_size and double train.gradient_accumulation_steps, or set "
       "train.gradient_checkpointing = true"),
    N_("lower train.dataloader_num_workers, or train on a host with more memory"),
    N_("lower train.learning_rate, or use bf16, and resume from a checkpoint before it"),
    N_("read the end of train.log"), N_("correct `command` in the preset"),
    N_("`sdtui resume {run}` goes on from {checkpoint}"),
    # What stands against a task.
    # Of a run on a cluster.
    N_("stopped by {who} while its job waited in the queue"), N_("Slurm's time limit"),
    N_("enough free nodes"), N_("jobs of a higher priority"),
    N_("the time at which it may begin"), N_("another job that it depends on"),
    N_("its release: it is held (scontrol release)"), N_("news of its job: {why}"),
    N_("this is the last known state"), N_("Slurm ends its job"), N_("its job has ended"),
    N_("its job was cancelled"), N_("its job reached its time limit before a save was done"),
    N_("a node of its job failed"), N_("its job used more memory than it had asked for"),
    N_("its job was taken off its nodes for another"),
    N_("its supervisor ended without a record"),
    N_("Slurm no longer knows its job {job}, and nobody saw its end"),
    N_("Slurm would not take the job"), N_("Slurm does not answer"),
    N_("try again when `sinfo` answers"), N_("runs are kept in {folder}"),
    N_("set SDTUI_HOME to a folder that all nodes share"),
    N_("it is empty"), N_("write something, or leave {key} out"),
    N_("no step for {span}"),
    N_("the task names no {role}"),
    N_("there is no mount with the target {target} and no train.{key}"),
    N_("add a mount with the target {target}, or set train.{key}"),
    N_("the mount {source} -> {target} cannot be made"), N_("correct the source of {target}"),
    N_("the task wants {count}"), N_("this host has {what}"),
    N_("model"), N_("data set"),
    N_("use --set gpu.count=0 to train on the CPU"),
    N_("the task is meant for {type}"), N_("check that memory suffices; any GPU will be taken"),
    N_("the image {name} is not used"),
    N_("the task runs on this machine's own Python"),
    N_("remove `image`, or ignore this"), N_("the start command {word} does not exist"),
    N_("it is no program on PATH and no word of bash"),
    N_("correct `command`, or give the program's full path"),
    N_("there is no room for one checkpoint"),
    N_("free some room, or set SDTUI_HOME to a folder on a larger disk"),
    N_("the run may need {size} of memory"), N_("{device} has {size}; this is an estimate"),
    N_("lower train_batch_size and raise gradient_accumulation_steps, or use "
       "--set train.gradient_checkpointing=true"),
    N_("the run may need {size} of disk"), N_("{size} are free, and {n} checkpoints are kept"),
    N_("{path} is not a pipeline folder"),
    N_("it has no model_index.json that names a pipeline class"),
    N_("the model folder {path} does not exist"), N_("the data folder {path} does not exist"),
    N_("there is no folder of that name on this machine"),
    N_("there is no file or folder of that name on this machine"),
    N_("check the path, or give the id of a model on the hub"),
    N_("check the path; data on another machine has to be copied or mounted first"),
    N_("the model {name} cannot be checked"),
    N_("it is not on this machine; it is looked for on the hub when the run starts"),
    N_("check the name and the network, or give a local pipeline folder"),
    N_("{path} holds no images"), N_("shorten them, or put first what matters most"),
    # What surrounds a task.
    N_("it makes the mount points"), N_("it runs the image"), N_("the task asks for it"),
    N_("nothing is mounted elsewhere"), N_("the built-in trainer needs no mount points"),
    N_("it is not installed"), N_("the daemon does not answer: {why}"),
    N_("read_only mounts are not protected: the start command works on the folders themselves"),
    N_("no mount point can be made on this host"),
    N_("the image {name} cannot be run here"), N_("the image {name} is not here"),
    N_("it is not on this machine and will be pulled at the start"), N_("there is no such file"),
    N_("podman knows no GPU of this host"), N_("it would hide {what}, {path}"),
    N_("choose another target, for example below /mnt"), N_("no mount has this target"),
    N_("{runtime} could not start the command: {why}"),
    N_("the host runtime makes no mount points, and this host has no such folder"),
    N_(
        "the host runtime makes no mount points, and {target} of this host is another folder "
        "than {source}"
    ),
    N_("the target {inner} lies inside the target {outer}"),
    # What is wrong with a field.
    N_("{value} cannot name a run: {rule}"),
    N_("a name starts with a letter or digit and has up to 64 letters, digits, . _ -"),
    N_("choose another name, for example pokemon-sd"), N_("change {key}"), N_("write {what}"),
    N_("two mounts have the target {target}"), N_("holds control characters"),
    N_("target {target} must be an absolute path without . or .. or //"),
    N_("target {target} would cover a folder of the system"),
)  # fmt: skip
# Put together by the core, or of the libraries beneath it: the driver's and pydantic's.
OTHERS = (
    N_("it makes the mount points; {others}"), N_("it runs the image; {others}"),
    N_("placeholders such as $DATASET_DIR stand for the folders; {others}"),
    N_("{program}: it is not installed"),
    N_("runtime = {runtime} cannot be used here"),
    N_("the task runs on this machine's own Python; this is no name of an image"),
    N_("{what} (Slurm: {word})"), N_("this is the last known state: {why}"),
    N_("no GPU ({why})"), N_("NVML Shared Library Not Found"), N_("Driver Not Loaded"),
    N_("the NVIDIA driver sees no GPU"), N_("the Python package nvidia-ml-py is not installed"),
    N_("input should be greater than or equal to {n} (it is {value})"),
    N_("input should be greater than {n} (it is {value})"),
    N_("input should be less than or equal to {n} (it is {value})"),
    N_("input should be less than {n} (it is {value})"),
    N_("input should be a multiple of {n} (it is {value})"),
    N_("input should be a valid integer, unable to parse string as an integer (it is {value})"),
    N_("input should be a valid number, unable to parse string as a number (it is {value})"),
    N_("input should be {choices} (it is {value})"),
)  # fmt: skip
_FIELD = re.compile(r"\{(\w+)\}")
_ESCAPED = re.compile(r"\\\{(\w+)\\\}")


def told(text: str) -> str:
    """Return a sentence of the core in the language of the console, else as it is."""
    return text if language() == "en" or not text else _told(text, language())


@lru_cache(maxsize=2048)
def _told(text: str, _language: str) -> str:
    for template, pattern in _patterns():
        if found := pattern.fullmatch(text):
            values = {name: told(value) for name, value in found.groupdict().items()}
            return _(template).format(**values)
    return text


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Return what each template matches; those that say more come first."""
    return [
        (template, re.compile(_ESCAPED.sub(r"(?P<\1>.+)", re.escape(template))))
        for template in sorted((*CORE, *OTHERS), key=lambda each: -len(_FIELD.sub("", each)))
    ]
