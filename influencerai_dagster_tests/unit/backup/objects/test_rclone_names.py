"""Any key is one line for rclone, and comes back as it was."""

from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.backup.objects.rclone_names import plain_key, shown_name

KEYS = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\x00"),
        st.sampled_from("\n\r\t\x7f\u2400\u240a\u2421\u201b"),
    ),
    min_size=1,
)


@given(KEYS)
def test_a_name_is_one_line_and_stands_for_one_key(key: str) -> None:
    name = shown_name(key)
    assert plain_key(name) == key
    assert not any(character < " " for character in name)


def test_names_are_those_that_rclone_shows() -> None:
    assert shown_name("x\ny") == "x\u240ay"
    assert shown_name("x\u240ay") == "x\u201b\u240ay"
    assert shown_name("caf\u00e9 \u65e5\u672c.jpg") == "caf\u00e9 \u65e5\u672c.jpg"
