"""The command line: every field of ``TrainSpec`` is a flag of the same name.

So the 57 flags of diffusers' ``train_text_to_image.py`` are here by construction, and a
``train.sh`` written for it changes one word; for what other scripts call otherwise see
``scripts``. Order of precedence: flag, the six variables of the
platform's form (only inside a run), default.
"""

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from sdcore.errors import UsageError
from sdcore.task.agreement import LORA_FIELDS
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line
from sdcore.train.scripts import translated

_HELP = "python -m sdcore.train --help lists the flags"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line says.

    Attributes:
        spec: Validated.
        hub_token: Given as a flag; kept out of ``spec``, which is written to disk.
        notes: What a person should know of the flags, one sentence each.
    """

    spec: TrainSpec
    hub_token: str | None
    notes: list[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError("the command line", cause=message, remedy=_HELP)


def parse(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Arguments:
    """Read flags and, inside a run, the platform's variables.

    Args:
        argv: Without the program's name; None reads ``sys.argv``.
        environ: Where ``SDTUI_RUN_DIR`` and the six variables are looked up.

    Raises:
        UsageError: A flag is unknown, or a value cannot be used.
    """
    words, notes = translated(sys.argv[1:] if argv is None else argv)
    known, unknown = _parser().parse_known_args(words)
    if unknown:
        raise _unknown(unknown[0])
    given: dict[str, Any] = vars(known)
    token = given.pop("hub_token", None)
    origins = {name: f"--{name}" for name in given}
    if "SDTUI_RUN_DIR" in environ:
        for variable, field in PLATFORM_ENV.items():
            if field not in given and environ.get(variable):
                given[field] = environ[variable]
                origins[field] = f"the environment variable {variable}"
    spec = _validated(given, origins)
    _check_lora(spec, given)
    return Arguments(spec, token, [*notes, *_notes(spec, given), *_token_notes(token)])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sdcore.train",
        description="Fine-tune the U-Net of a Stable Diffusion pipeline, 1.x, 2.x or XL.",
        allow_abbrev=False,  # a flag cut short must not be taken for another
    )
    for name, field in TrainSpec.model_fields.items():
        _add(parser, name, field)
    return parser


def _add(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    default = "" if field.default is None else f" Default: {field.default}."
    text = f"{field.description}{default}".replace("%", "%%")
    if field.annotation is bool:
        parser.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
        return
    if bool in get_args(field.annotation):
        _add_switch(parser, name, text)
        return
    many = any(
        get_origin(part) is tuple for part in (field.annotation, *get_args(field.annotation))
    )
    parser.add_argument(
        f"--{name}",
        action="extend" if many else "store",
        nargs="+" if many else None,
        default=argparse.SUPPRESS,
        metavar=name.rpartition("_")[2].upper(),
        help=text,
    )


def _add_switch(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add a switch that also takes a word: ``--x`` is on, as it is for diffusers, ``--x=auto``."""
    none = argparse.SUPPRESS
    parser.add_argument(
        f"--{name}", dest=name, nargs="?", const=True, default=none, metavar="auto", help=text
    )
    parser.add_argument(
        f"--no-{name}", dest=name, action="store_const", const=False, default=none, help=none
    )


def _unknown(word: str) -> UsageError:
    flag = clean_line(word.partition("=")[0], 80)
    flags = [f"--{name}" for name in TrainSpec.model_fields]
    near = difflib.get_close_matches(flag, flags, n=1, cutoff=0.8)
    return UsageError(
        f"the flag {flag}" if flag.startswith("-") else f"the word {flag!r}",
        cause="the trainer does not know it",
        remedy=f"write {near[0]}" if near else _HELP,
    )


def _validated(given: dict[str, Any], origins: dict[str, str]) -> TrainSpec:
    try:
        # Words from a command line: 512 comes as "512".
        return TrainSpec.model_validate(given, strict=False)
    except ValidationError as error:
        causes = [_cause(dict(entry), origins) for entry in error.errors()]
    raise UsageError(
        "the settings of the training cannot be used",
        cause="\n          ".join(causes),
        remedy=_HELP,
    )


def _check_lora(spec: TrainSpec, given: Mapping[str, Any]) -> None:
    """Refuse a command line of diffusers' LoRA script, which would train the whole model here.

    The settings alone cannot tell: there, a rank of 4 may be just the default.
    """
    told = [name for name in LORA_FIELDS if name in given]
    if told and not spec.train_lora:
        raise UsageError(
            f"--{told[0]}",
            cause="it is a flag of LoRA, and without --train_lora the whole U-Net is trained",
            remedy="add --train_lora, or start -m sdcore.train.lora, which sets it",
        )


def _cause(entry: dict[str, Any], origins: dict[str, str]) -> str:
    message = str(entry["msg"]).removeprefix("Value error, ")
    if not entry["loc"]:
        return message
    name = str(entry["loc"][0])
    value = clean_line(repr(entry.get("input")), 100)
    return f"{origins.get(name, name)} is {value}: {message}"


def _notes(spec: TrainSpec, given: Mapping[str, Any]) -> list[str]:
    """Say of each flag that has no effect here why."""
    told = {
        "local_rank": "local_rank has no effect: the launcher sets LOCAL_RANK for each process",
        "foreach_ema": "foreach_ema has no effect: the fused update of the average is always used",
        "non_ema_revision": "non_ema_revision is deprecated upstream; it is used for the U-Net",
    }
    notes = [text for name, text in told.items() if given.get(name) not in {None, False}]
    if spec.dataset_name and spec.train_data_dir:
        notes.append("train_data_dir has no effect: dataset_name is given")
    if spec.validation_steps and "validation_epochs" in given:
        notes.append("validation_epochs has no effect: validation_steps is given")
    if "lr_warmup_steps" in given and spec.lr_warmup_steps and spec.lr_scheduler == "constant":
        notes.append("lr_warmup_steps has no effect with lr_scheduler constant; "
                     "constant_with_warmup has one")  # fmt: skip
    if spec.hub_model_id and not spec.push_to_hub:
        notes.append("hub_model_id has no effect without push_to_hub")
    return [*notes, *_idle(spec, given), *_doubts(spec)]


def _idle(spec: TrainSpec, given: Mapping[str, Any]) -> list[str]:
    """Say which flags have no effect for want of another one."""
    needs = {
        "use_ema": ("offload_ema", "ema_update_after_step", "use_ema_warmup"),
        "use_ema_warmup": ("ema_inv_gamma", "ema_power"),
    }
    notes = [
        f"{flag} has no effect without {other}"
        for other, flags in needs.items()
        for flag in flags
        if given.get(flag) and not getattr(spec, other)
    ]
    strategy = spec.timestep_bias_strategy
    if strategy == "none" and "timestep_bias_multiplier" in given:
        notes.append("timestep_bias_multiplier has no effect with timestep_bias_strategy none")
    if strategy != "range" and {"timestep_bias_begin", "timestep_bias_end"} & given.keys():
        notes.append("timestep_bias_begin and _end have no effect without strategy range")
    if spec.optimizer == "adafactor":
        flags = ("adam_beta1", "adam_beta2", "adam_epsilon")
        notes += [f"{f} has no effect with optimizer adafactor" for f in flags if f in given]
    return notes


def _doubts(spec: TrainSpec) -> list[str]:
    """Say which settings together seldom mean what they say."""
    notes = []
    if spec.optimizer == "prodigy" and not 0.1 <= spec.learning_rate <= 3:
        notes.append(f"learning_rate {spec.learning_rate:g} with optimizer prodigy: it multiplies "
                     "the rate it finds by this number, which is usually 1")  # fmt: skip
    if spec.rescale_betas_zero_snr and spec.snr_gamma is not None:
        notes.append("snr_gamma takes away what rescale_betas_zero_snr adds: its weight is 0 at "
                     "the last timestep and next to nothing before it")  # fmt: skip
    said = [name for name in ("prediction_type", "rescale_betas_zero_snr") if getattr(spec, name)]
    if spec.train_lora and said:
        notes.append(f"the file of the adapters cannot say {' and '.join(said)}: set the same on "
                     "the scheduler that draws with them, unless the model has it")  # fmt: skip
    return notes


def _token_notes(token: str | None) -> list[str]:
    if token is None:
        return []
    seen = "hub_token on a command line can be read by every user of this host with ps"
    return [f"{seen}; set the environment variable HF_TOKEN instead"]
