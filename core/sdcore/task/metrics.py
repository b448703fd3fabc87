"""The ``[metrics]`` table: where the loss of a start command of the user's own is read from."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdcore.task.pattern import MAX_LENGTH, compile_pattern

MetricsSource = Literal["auto", "log", "tensorboard", "none"]


class MetricsSpec(BaseModel):
    """For a start command; the built-in trainer writes its metrics itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: MetricsSource = Field(
        "auto", description="Where steps and losses are read: log, tensorboard, none; auto tries."
    )
    pattern: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_LENGTH,
        description="Regular expression for a line of the log, with (?P<step>...) and "
        "(?P<loss>...), and where there are any total, lr, epoch, grad_norm, images_per_s, "
        "it_per_s.",
    )

    @model_validator(mode="after")
    def _pattern_can_be_used(self) -> Self:
        if self.pattern is None:
            return self
        if self.source in {"tensorboard", "none"}:
            raise ValueError(
                f"pattern is for lines of the log, and source is {self.source!r}; leave pattern "
                "out, or set source = 'log'"
            )
        try:
            compile_pattern(self.pattern)
        except ValueError as error:
            raise ValueError(f"pattern: {error}") from None
        return self
