"""Check that the workflows, base models and samplers of submitted jobs exist.

A job is checked if its workflow can be read and every ComfyUI server answers quickly. Otherwise the
job is accepted, and generation/render/render_job.py finds the problem when it renders.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from influencerai_dagster.core.names import suggestion
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.object_info import ObjectInfo
from influencerai_dagster.engines.comfyui.templates import MODEL_FILES, WorkflowTemplate
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.generation.jobs import ImageJobPayload, JobPayload
from influencerai_dagster.generation.render.render_job import load_template
from influencerai_dagster.storage.object_store import ObjectStore

_ASK_SECONDS = 3.0


@dataclass
class JobChecks:
    """Checks the jobs of one submission; each server is asked at most once.

    Attributes:
        store: where tenants' own workflows are.
        urls: COMFYUI_URL.
        tenant_nodes: COMFYUI_TENANT_NODES.
        timeout_seconds: how long a server may take to answer.
    """

    store: ObjectStore
    urls: Sequence[str]
    tenant_nodes: Collection[str] = ()
    timeout_seconds: float = _ASK_SECONDS
    _templates: dict[tuple[str, str], WorkflowTemplate | None] = field(default_factory=dict)

    def check(self, tenant: str, payloads: Sequence[JobPayload]) -> None:
        """Check jobs before they are written.

        Raises:
            PermanentError: no server has what a job names; the text has job, field and value, the
                nearest name and the names that exist.
        """
        for index, payload in enumerate(payloads):
            try:
                problem = next(self._problems(tenant, payload), None)
            except PermanentError as error:
                problem = f"workflow: {error}"
            if problem is not None:
                raise PermanentError(f"jobs[{index}] cannot be used: {problem}")

    def _problems(self, tenant: str, payload: JobPayload) -> Iterator[str]:
        template = None
        if payload.workflow is not None:
            template = self._template(tenant, payload.workflow)
        if template is not None:
            if template.kind is not payload.kind:
                made = template.kind.plural
                yield f"workflow: {template.name!r} makes {made}; the job's kind is {payload.kind}"
            if not template.is_shipped:
                yield from self._class_problems(template)
        wanted: dict[str, str | None] = {payload.MODEL_FIELD: payload.model_file}
        if isinstance(payload, ImageJobPayload):
            wanted |= {"sampler_name": payload.sampler_name, "scheduler": payload.scheduler}
        for name, value in wanted.items():
            if value is None or not self._servers:
                continue
            inputs, where = [("KSampler", name)], ""
            if name == payload.MODEL_FIELD:
                loaders = payload.DEFAULT_LOADERS if template is None else (template.model_loader,)
                inputs = [(loader, MODEL_FILES[loader].input_name) for loader in loaders]
                folders = dict.fromkeys(MODEL_FILES[loader].folder for loader in loaders)
                where = f". The files are in {' or '.join(folders)} of ComfyUI"
            choices = self._choices(inputs)
            if value not in choices:
                yield (
                    f"{name}: no ComfyUI server has {value!r}. "
                    f"{suggestion(value, choices, plural='choices')}{where}"
                )

    def _template(self, tenant: str, name: str) -> WorkflowTemplate | None:
        """Return a template, None while it cannot be read; PermanentError if it cannot be used."""
        key = (tenant, name)
        if key not in self._templates:
            self._templates[key] = None
            with suppress(TransientError):
                self._templates[key] = load_template(self.store, tenant, name, self.tenant_nodes)
        return self._templates[key]

    def _class_problems(self, template: WorkflowTemplate) -> Iterator[str]:
        if not self._servers:
            return
        for node_id in template.nodes:
            name = template.graph.class_of(node_id)
            if not any(name in info.node_classes for info in self._servers):
                yield (
                    f"workflow: {template.name!r} has a node {name[:80]!r} ({node_id[:40]}), which "
                    "no ComfyUI server has. Install it there, or remove it"
                )

    def _choices(self, inputs: Sequence[tuple[str, str]]) -> Mapping[str, None]:
        """Return the values that any server offers for inputs of node classes, in their order."""
        return {
            str(choice): None
            for info in self._servers
            for loader, input_name in inputs
            for choice in info.choices(loader, input_name)
        }

    @cached_property
    def _servers(self) -> list[ObjectInfo]:
        """The node classes of all servers; empty if one did not answer, which may have more."""
        with ThreadPoolExecutor(len(self.urls) or 1) as pool:
            answers = list(pool.map(self._ask, self.urls))
        found = [answer for answer in answers if answer is not None]
        return found if len(found) == len(answers) else []

    def _ask(self, url: str) -> ObjectInfo | None:
        with (
            suppress(InfluencerAIError),
            ComfyUIClient(url, timeout_seconds=self.timeout_seconds) as client,
        ):
            return client.object_info()
        return None
