"""Print to the terminal without the escape codes of foreign texts.

Prompts, file names and answers of servers may hold escape codes:
docs/decisions/0031-no-text-of-others-commands-a-terminal.md.
"""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from influencerai_dagster.core.plain_text import harmless


class Terminal(Console):
    """A console that removes the escape codes of texts, which rich itself prints."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments to print; only rich's own control codes are left."""
        for segment in super().render(renderable, options):
            is_own = bool(segment.control)
            yield segment if is_own else Segment(harmless(segment.text), segment.style)
