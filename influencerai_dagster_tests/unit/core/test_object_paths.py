"""Object keys: every key that is built stays below the prefix of its tenant."""

from collections.abc import Callable
from datetime import date
from pathlib import PurePosixPath
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.core import object_paths
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DatasetKey, DayKey
from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES

KEY = DatasetKey("demo", "bella")
JOB_ID = UUID("6f0f2e1c-8f0b-5d43-9a53-3f6a4c1a7b10")
VERSION = "0123456789abcdef" * 2
# Every key that holds a name which a user or a manifest chose, and the prefix it has to stay below.
BUILDERS: dict[str, tuple[str, Callable[[str], str]]] = {
    "tenant prefix": ("datasets/", object_paths.tenant_datasets_prefix),
    "upload": (
        "datasets/demo/bella/images/",
        lambda name: object_paths.upload_key(KEY, name),
    ),
    "dataset manifest": (
        "datasets/demo/bella/manifests/",
        lambda name: object_paths.dataset_manifest_key(KEY, name),
    ),
    "captions manifest": (
        "datasets/demo/bella/captions/",
        lambda name: object_paths.captions_manifest_key(KEY, name),
    ),
    "LoRA's tenant": ("loras/", lambda name: object_paths.lora_key(name, "lora1")),
    "LoRA": ("loras/demo/", lambda name: object_paths.lora_key("demo", name)),
    "LoRA manifest": ("loras/demo/", lambda name: object_paths.lora_manifest_key("demo", name)),
    "samples' LoRA": (
        "images/demo/samples-",
        lambda name: object_paths.lora_samples_key("demo", name, "a.png"),
    ),
    "sample": (
        "images/demo/samples-lora1/",
        lambda name: object_paths.lora_samples_key("demo", "lora1", name),
    ),
    "output's tenant": (
        "images/",
        lambda name: object_paths.output_key(JobKind.IMAGE, name, JOB_ID, 1, ".png"),
    ),
    "output's ending": (
        f"images/demo/{JOB_ID}/output",
        lambda name: object_paths.output_key(JobKind.IMAGE, "demo", JOB_ID, 1, name),
    ),
    "segment's tenant": (
        "videos/",
        lambda name: object_paths.segment_key(name, JOB_ID, 0, 1, ".zip"),
    ),
    "segment's ending": (
        f"videos/demo/{JOB_ID}/segment-0000",
        lambda name: object_paths.segment_key("demo", JOB_ID, 0, 1, name),
    ),
    "workflow's tenant": ("workflows/", lambda name: object_paths.workflow_key(name, "mine")),
    "workflow": ("workflows/demo/", lambda name: object_paths.workflow_key("demo", name)),
    "day manifest": (
        "images/demo/days/2026-11-23/",
        lambda name: object_paths.day_manifest_key(
            "images", DayKey("demo", date(2026, 11, 23)), name
        ),
    ),
}
names = st.one_of(st.text(), st.text(alphabet="a/.\\\0\n%", max_size=6))


@pytest.mark.parametrize("builder", BUILDERS)
@given(name=names)
def test_no_accepted_name_leaves_its_prefix(builder: str, name: str) -> None:
    prefix, build = BUILDERS[builder]
    try:
        key = build(name)
    except PermanentError:
        return
    assert key.startswith(prefix)
    path = PurePosixPath(key)
    assert ".." not in path.parts
    assert "." not in path.parts
    assert key.removesuffix("/") == str(path), "an empty part or one that a file system would drop"
    assert key.count("/") == build("abcdef0123456789").count("/")
    assert text_problem(key) is None
    assert key.splitlines() == [key]


@pytest.mark.parametrize("builder", [name for name in BUILDERS if name not in {"upload", "sample"}])
@pytest.mark.parametrize(
    "name", [HOSTILE_NAMES[name] for name in ("parent folder", "absolute", "nul", "newline")]
)
def test_a_hostile_name_is_refused_in_every_key(builder: str, name: str) -> None:
    with pytest.raises(PermanentError):
        BUILDERS[builder][1](name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("../x", "hidden", id="parent folder"),
        pytest.param("a/../x.png", "path separator", id="folder"),
        pytest.param("/etc/passwd", "path separator", id="absolute"),
        pytest.param("a\\b.png", "path separator", id="backslash"),
        pytest.param(".htaccess", "hidden", id="hidden"),
        pytest.param("", "empty", id="empty"),
        pytest.param("a\0.png", "control character", id="nul"),
        pytest.param("a\n.png", "control character", id="newline"),
        pytest.param("a\u202egnp.exe", "control character", id="right-to-left override"),
        pytest.param("a\x85.png", "control character", id="C1"),
        pytest.param("a\u2067b.png", "text direction", id="isolate"),
        pytest.param("a\u2028b.png", "line separator", id="line separator"),
        pytest.param("a\ufffe.png", "not a character", id="not in XML"),
        pytest.param("\udcff.png", "half of a character", id="not UTF-8 on disk"),
        pytest.param("a" * 300 + ".png", "longer than 200 bytes", id="300 characters"),
        pytest.param("é" * 101, "longer than 200 bytes", id="bytes, not characters"),
    ],
)
def test_a_hostile_file_name_is_refused_with_its_reason(name: str, problem: str) -> None:
    assert problem in (object_paths.file_name_problem(name) or "")
    with pytest.raises(PermanentError, match="is not allowed"):
        object_paths.upload_key(KEY, name)


@pytest.mark.parametrize(
    "name",
    [
        *("img001.jpg", "Ünïcode photo (1).png", "写真.webp", "a..b.png", "cafe\u0301.jpg"),
        pytest.param("Screenshot 2026-11-23 at 1.23.45\u202fPM.jpg", id="macOS screenshot"),
        pytest.param("photo\u00a0n°\u20071.jpg", id="no-break and figure space"),
        pytest.param("写真\u3000１.jpg", id="ideographic space"),
        pytest.param("\U0001f469\u200d\U0001f4bb.jpg", id="emoji with joiner"),
        pytest.param("\U0001f3f4\U000e0067\U000e0062\U000e007f.jpg", id="flag of tags"),
        pytest.param("\u05ea\u05de\u05d5\u05e0\u05d4\u200f.jpg", id="right-to-left mark"),
        pytest.param("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.jpg", id="Persian joiner"),
        pytest.param("\u0915\u094d\u200d\u0937.jpg", id="Indic joiner"),
        pytest.param("\U0001fae9.jpg", id="emoji newer than this Python"),
        pytest.param("\uf8ff.jpg", id="logo in the private area"),
        pytest.param("a\u00adb\ufeff.jpg", id="soft hyphen and BOM"),
    ],
)
def test_a_persons_own_file_name_is_kept(name: str) -> None:
    assert object_paths.upload_key(KEY, name) == f"datasets/demo/bella/images/{name}"


@given(names)
def test_an_upload_is_known_for_its_dataset(name: str) -> None:
    try:
        key = object_paths.upload_key(KEY, name)
    except PermanentError:
        return
    assert object_paths.dataset_key_of(key) == KEY


@given(names)
def test_any_object_key_has_a_valid_dataset_or_none(text: str) -> None:
    for key in (text, f"datasets/{text}", f"datasets/demo/{text}", f"datasets/{text}/images/a.png"):
        found = object_paths.dataset_key_of(key)
        assert found is None or key.startswith(object_paths.uploads_prefix(found))


@pytest.mark.parametrize(
    "key",
    [
        *("datasets/demo/bella/images/", "datasets/demo/bella/manifest.json"),
        *("datasets/../bella/images/a.png", "datasets/demo/../images/a.png"),
        *("datasets/demo/bella/images/deeper/a.png", "loras/demo/x.json", "", "datasets/"),
    ],
)
def test_an_object_that_is_no_upload_has_no_dataset(key: str) -> None:
    assert object_paths.dataset_key_of(key) is None


def test_every_claim_of_a_job_has_a_key_of_its_own() -> None:
    keys = {
        object_paths.output_key(JobKind.IMAGE, "demo", JOB_ID, claim, suffix)
        for claim in range(1, 5)
        for suffix in (".png", ".json")
    }
    assert len(keys) == 8
    assert f"images/demo/{JOB_ID}/output.png" in keys
    assert f"images/demo/{JOB_ID}/output-2.json" in keys


def test_every_segment_of_every_claim_has_a_key_of_its_own_below_one_prefix() -> None:
    keys = [
        object_paths.segment_key("demo", JOB_ID, segment, claim, ".zip")
        for segment in (0, 1, 12)
        for claim in (1, 2, 12)
    ]
    assert len(set(keys)) == 9
    assert keys[:2] == [f"videos/demo/{JOB_ID}/segment-0000{end}.zip" for end in ("", "-2")]
    prefix = object_paths.segments_prefix("demo", JOB_ID)
    assert all(key.startswith(prefix) for key in keys)


def test_the_manifest_of_an_output_lies_beside_it() -> None:
    for claim in (1, 2):
        video, manifest = (
            object_paths.output_key(JobKind.VIDEO, "demo", JOB_ID, claim, suffix)
            for suffix in (".mp4", ".json")
        )
        assert object_paths.output_manifest_key(video) == manifest
    for key in ("", "videos/demo/x", "videos/de.mo/x"):
        with pytest.raises(PermanentError, match="is not the key of an output"):
            object_paths.output_manifest_key(key)


@pytest.mark.parametrize("version", ["", "latest", "a" * 15, "a" * 65, "../../x", "ABCDEF" * 4])
def test_a_version_that_is_no_hash_is_refused(version: str) -> None:
    with pytest.raises(PermanentError, match="is not a hash"):
        object_paths.dataset_manifest_key(KEY, version)


def test_the_newest_manifest_and_rights_lie_where_the_design_says() -> None:
    assert object_paths.latest_dataset_manifest_key(KEY) == "datasets/demo/bella/manifest.json"
    assert object_paths.rights_key(KEY) == "datasets/demo/bella/images/rights.json"
    token = uuid4()
    assert object_paths.access_check_key(token) == f"doctor/{token}"


@pytest.mark.parametrize("kind", ["images", "videos"])
def test_a_list_of_a_day_is_known_by_its_key(kind: str) -> None:
    day = DayKey("demo", date(2026, 11, 25))
    assert object_paths.day_of_list(object_paths.day_manifest_key(kind, day, VERSION)) == day


@pytest.mark.parametrize(
    "key",
    [
        *("", "images/demo/days/2026-11-25", f"loras/demo/days/2026-11-25/{VERSION}.json"),
        *(f"images/demo/days/2026-11-25/{VERSION}.png", "images/demo/days/2026-11-25/x.json"),
        *(f"images/../days/2026-11-25/{VERSION}.json", f"images/demo/days/today/{VERSION}.json"),
        *(f"images/demo/days/2026-11-25/a/{VERSION}.json", f"images/demo/{JOB_ID}/output.json"),
    ],
)
def test_any_other_key_is_no_list_of_a_day(key: str) -> None:
    assert object_paths.day_of_list(key) is None
