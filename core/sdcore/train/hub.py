"""Uploads the pipeline at the end. It is on disk by then: an upload can fail, a run cannot."""

import os
from pathlib import Path

from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line
from sdcore.train.report import Report

# Streams, checkpoints and rank files of a drop-in lie beside the pipeline.
_OURS = ["checkpoints/*", "samples/*", "ranks/*", "requests/*", "*.jsonl", ".*"]


def check(spec: TrainSpec, report: Report) -> None:
    """Say at the start what would fail at the end."""
    if not spec.push_to_hub:
        return
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"0", ""}:
        report.warn("push_to_hub will fail: HF_HUB_OFFLINE is set")
    elif not _token():
        report.warn("push_to_hub will fail without a token: set HF_TOKEN, or run `hf auth login`")


def push(spec: TrainSpec, pipeline: Path, report: Report) -> None:
    """Create the repository and upload; a failure is a warning that names the next step."""
    if not spec.push_to_hub:
        return
    from huggingface_hub import HfApi  # noqa: PLC0415 - most runs upload nothing

    name = spec.hub_model_id or pipeline.name
    report.say(f"uploading to {name} …")
    try:
        api = HfApi(token=_token())
        repository = api.create_repo(name, exist_ok=True).repo_id
        api.upload_folder(
            repo_id=repository, folder_path=pipeline,
            ignore_patterns=[*_OURS, f"{spec.logging_dir}/*"],
            commit_message="Pipeline trained with sdtui",
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - told; the pipeline is safe on disk
        report.warn(
            f"the pipeline was not uploaded: {clean_line(str(error), 300)}; it is whole in "
            f"{pipeline}: upload it with `hf upload {name} {pipeline}`"
        )


def _token() -> str | None:
    from huggingface_hub import get_token  # noqa: PLC0415

    return get_token()
