"""The ``[hooks]`` table: a command of the person's own for when a run is over."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class HooksSpec(BaseModel):
    """What is told to whom, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # Empty is a value: it switches off what the person's own defaults say.
    end: str = Field(
        "",
        max_length=20_000,
        description="Command that bash runs once on this host when the run is over; it finds "
        "SDTUI_STATE, SDTUI_RUN_NAME and others in its environment. Empty: none.",
    )
    timeout_s: int = Field(
        60, ge=1, le=3600, description="Seconds after which the command is killed."
    )

    @field_validator("end")
    @classmethod
    def _can_be_executed(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("holds a NUL")
        return value

    @property
    def wanted(self) -> bool:
        """Whether there is anything to run."""
        return bool(self.end.strip())
