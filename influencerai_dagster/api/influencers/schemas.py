"""Define what is sent and returned about influencers."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.db.records import Influencer

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Line = Annotated[str, Field(min_length=1, max_length=200)]
_MAX_DEPTH = 20


class InfluencerFields(BaseModel):
    """The fields of an influencer, all of them.

    Attributes:
        dataset: its photos; they may be uploaded later.
        trigger_phrase: comes first in every caption.
        class_caption: the caption of a photo without its own.
        persona: facts for the content plan, any JSON object.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Bella",
                "dataset": "bella",
                "trigger_phrase": "bella woman",
                "class_caption": "photo of a woman",
                "persona": {"city": "Milano", "likes": ["coffee", "trail running"]},
            }
        },
    )

    name: Line
    dataset: Name
    trigger_phrase: Line
    class_caption: Line
    persona: dict[str, JsonValue] = {}

    @field_validator("persona")
    @classmethod
    def _check_persona(cls, persona: dict[str, Any]) -> dict[str, Any]:
        problem = _problem(persona, _MAX_DEPTH)
        if problem is not None:
            raise ValueError(problem)
        return persona


class InfluencerDocument(InfluencerFields):
    """An influencer."""

    id: str

    @classmethod
    def of(cls, influencer: Influencer) -> "InfluencerDocument":
        """Make the document of an influencer."""
        return cls(
            id=influencer.id,
            name=influencer.name,
            dataset=influencer.dataset,
            trigger_phrase=influencer.trigger_phrase,
            class_caption=influencer.class_caption,
            persona=dict(influencer.persona),
        )


class InfluencerList(BaseModel):
    """The influencers of a tenant by id."""

    items: list[InfluencerDocument]


def _problem(value: object, depth: int) -> str | None:
    """Say why JSON cannot be stored; None if it can."""
    if depth == 0:
        return f"is nested more than {_MAX_DEPTH} deep"
    if isinstance(value, float) and value - value != 0:  # infinite, or no number
        return "has a number that JSON cannot write (NaN or Infinity)"
    if isinstance(value, str):
        lines = (text_problem(line) for line in value.splitlines())
        found = next((line for line in lines if line is not None), None)
        return None if found is None and "\0" not in value else f"has a text that {found}"
    if isinstance(value, dict):
        parts: list[object] = [*value, *value.values()]
    else:
        parts = value if isinstance(value, list) else []
    return next((found for part in parts if (found := _problem(part, depth - 1))), None)
