"""The JSON schema of a preset, for editors and for ``sdtui schema``."""

from typing import Any

from sdcore.task.spec import TaskSpec


def preset_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) that a preset follows."""
    schema = TaskSpec.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A task of sdtui",
    }
