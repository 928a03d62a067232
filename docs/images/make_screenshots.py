"""Write the screenshots of README and docs from a running stack: `make screenshots`.

The stack must have the demo's content (`make demo`). Assets, partitions and runs are read from it,
so a screenshot shows what the system shows today. The script submits an upscale, which the demo
does not make, and some images, to show a queue.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright
from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent
INFLUENCERAI = (sys.executable, "-m", "influencerai_dagster.cli")
DEMO = "demo"  # the tenant of `make demo`
NUM_JOBS = 12
STEPS = 150  # so that a render lasts long enough to be seen
WATCH_SECONDS = 120
PAGE_SECONDS = 60
TERMINAL_COLUMNS = 120
HALF_DONE = re.compile(r"━ +[4-9]\d %")
ASSETS_QUERY = """{ assetNodes {
  assetKey { path } groupName partitionDefinition { type }
  assetMaterializations(limit: 1) { partition runId } } }"""


@dataclass(frozen=True)
class Asset:
    """A partitioned asset with its newest materialization."""

    name: str
    group: str
    partition_key: str
    run_id: str


def main() -> None:
    """Write every screenshot into the folder of this file."""
    ui = json.loads(influencerai("open", "--no-browser", "--json"))["url"]
    assets = materialized_assets(ui, upscale_an_image())
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit(
            "neither chromium nor google-chrome is on PATH: install it (apt-get install chromium)"
        )
    expect.set_options(timeout=PAGE_SECONDS * 1_000)
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root; it opens pages of this machine only.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(base_url=ui, viewport={"width": 1440, "height": 860})
        for asset in assets.values():
            write_asset(page, asset)
        write_run(page, assets["lora_weights"])
        write_page(page, "/runs", "runs.png", shows=assets["lora_weights"].run_id[:8])
        page.set_viewport_size({"width": 2040, "height": 1400})
        write_lineage(page, sorted({asset.group for asset in assets.values()}))
    write_terminal("jobs-watch.svg", watch_with_jobs(assets["lora_samples"]))


def influencerai(*arguments: str, stdin: str = "", **variables: str) -> str:
    """Return what the command prints, or end with its own error text."""
    done = subprocess.run(  # noqa: S603 - our own program
        [*INFLUENCERAI, *arguments],
        env=os.environ | variables,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"influencerai {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout


def upscale_an_image() -> float:
    """Submit an upscale of the demo's newest image; return until when its asset may take."""
    listed = influencerai(
        "jobs", "list", "--tenant", DEMO, "--kind", "image", "--status", "completed", "--json"
    )
    jobs = json.loads(listed)
    if not jobs:
        sys.exit(f"tenant {DEMO} has no image: run `make demo` first")
    upscale = json.dumps([{"source_job_id": jobs[0]["job_id"]}])
    influencerai(
        *("jobs", "submit", "-", "--tenant", DEMO, "--kind", "upscale"),
        *("--idempotency-key", f"screenshots/{jobs[0]['job_id']}"),
        stdin=upscale,
    )
    return time.monotonic() + WATCH_SECONDS


def materialized_assets(ui: str, deadline: float) -> dict[str, Asset]:
    """Return the partitioned assets by name once all of them have been materialized."""
    while True:
        answer = httpx.post(f"{ui}/graphql", json={"query": ASSETS_QUERY}).raise_for_status().json()
        nodes = [node for node in answer["data"]["assetNodes"] if node["partitionDefinition"]]
        missing = ["/".join(n["assetKey"]["path"]) for n in nodes if not n["assetMaterializations"]]
        if not missing:
            return {asset.name: asset for asset in map(asset_of, nodes)}
        if time.monotonic() > deadline:
            sys.exit(f"{ui} has no materialization of {', '.join(missing)}: run `make demo` first")
        time.sleep(1)


def asset_of(node: dict[str, Any]) -> Asset:
    """Return the asset of a node of Dagster's answer."""
    newest = node["assetMaterializations"][0]
    name = "/".join(node["assetKey"]["path"])
    return Asset(name, node["groupName"], newest["partition"], newest["runId"])


def watch_with_jobs(asset: Asset) -> str:
    """Submit jobs with the newest LoRA, and return `jobs watch` while they are rendered."""
    tenant, _, dataset = asset.partition_key.partition("/")
    jobs = [
        {
            "prompt": f"{dataset}, portrait number {number}",
            "loras": [{"dataset": dataset}],
            "steps": STEPS,
        }
        for number in range(NUM_JOBS)
    ]
    influencerai("jobs", "submit", "-", "--tenant", tenant, stdin=json.dumps(jobs))
    deadline = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        text = influencerai(
            "jobs", "watch", "--once", FORCE_COLOR="1", COLUMNS=str(TERMINAL_COLUMNS)
        )
        if HALF_DONE.search(Text.from_ansi(text).plain):
            return text
    sys.exit(f"no job was seen half done within {WATCH_SECONDS} s: see `influencerai jobs watch`")


def write_terminal(name: str, text: str) -> None:
    """Write a terminal's text as SVG, without the address of a font elsewhere."""
    console = Console(record=True, width=TERMINAL_COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(text.rstrip()))
    svg = console.export_svg(title="influencerai jobs watch")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (FOLDER / name).write_text(svg, encoding="utf-8")
    announce(name)


def write_asset(page: Page, asset: Asset) -> None:
    """Write the page of the newest partition, with its first preview open if there is one."""
    page.goto(f"/assets/{asset.name}?view=partitions&partition={asset.partition_key}")
    expect(page.get_by_text("Latest materialization")).to_be_visible()
    expect(page.get_by_text("object_key", exact=True).first).to_be_visible()
    markdown = page.get_by_text("[Show Markdown]")
    if markdown.count():
        markdown.first.click()
        expect(page.get_by_role("button", name="Close")).to_be_visible()
    write(page, f"{asset.name}.png")


def write_run(page: Page, asset: Asset) -> None:
    """Write the page of the run that materialized the asset."""
    write_page(page, f"/runs/{asset.run_id}", "training-run.png", shows="RUN_SUCCESS")


def write_page(page: Page, path: str, name: str, *, shows: str) -> None:
    """Write a page once it shows a text."""
    page.goto(path)
    expect(page.get_by_text(shows).first).to_be_visible()
    write(page, name)


def write_lineage(page: Page, groups: list[str]) -> None:
    """Write the asset graph, and nothing around it, with these groups open."""
    page.goto(f"/asset-groups?expanded={','.join(f'global@global:{group}' for group in groups)}")
    expect(page.get_by_text("% filled").first).to_be_visible()
    write(page, "lineage.png", part=page.locator("svg:has(foreignObject)").first)


def write(page: Page, name: str, *, part: Locator | None = None) -> None:
    """Write what the page shows, with 256 colours: a fifth of the bytes, the same to the eye."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1_000)  # the UI fades its panels in
    shot = Image.open(io.BytesIO((part or page).screenshot(animations="disabled")))
    shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)
    announce(name)


def announce(name: str) -> None:
    """Say that a file was written, and how large it is."""
    sys.stdout.write(f"{name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
