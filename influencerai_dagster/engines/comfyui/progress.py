"""How far a run is, from what its server tells of each node.

The socket that hears it lives in progress_socket.py. Source: docs/protocols/comfyui.md, points
9 and 20.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from influencerai_dagster.engines.comfyui.progress_socket import NodeProgress, PreviewImage
from influencerai_dagster.engines.comfyui.values import Workflow


@dataclass(frozen=True)
class RenderProgress:
    """How far one node of a run is.

    Attributes:
        node_class: empty for a node that ComfyUI made itself while running.
        preview_image: JPEG or PNG of what the sampler has so far, if this is event of that.
    """

    prompt_id: str
    node_id: str
    node_class: str
    value: float
    max: float
    preview_image: bytes | None = None

    @property
    def fraction(self) -> float:
        """How much of this node's work is done, 0 to 1."""
        return min(max(self.value / self.max, 0.0), 1.0) if self.max > 0 else 0.0


class ProgressTeller:
    """Tells each step of one run once."""

    def __init__(self, workflow: Workflow, on_progress: Callable[[RenderProgress], None]) -> None:
        """Make it.

        Args:
            workflow: what was submitted, for the classes of its nodes.
            on_progress: called for every step.
        """
        self._workflow = workflow
        self._on_progress = on_progress
        self._last: RenderProgress | None = None

    def tell(self, event: NodeProgress | PreviewImage) -> None:
        """Tell a step that was not told yet, or an image of the one before."""
        if isinstance(event, PreviewImage):
            if self._last is not None:
                self._on_progress(replace(self._last, preview_image=event.content))
            return
        node_class = str(self._workflow.get(event.node_id, {}).get("class_type", ""))
        progress = RenderProgress(
            event.prompt_id, event.node_id, node_class, event.value, event.maximum
        )
        # Servers tell each step twice, as `progress` and as `progress_state`.
        if progress != self._last:
            self._last = progress
            self._on_progress(progress)
