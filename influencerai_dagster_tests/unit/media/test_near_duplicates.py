"""Near duplicates point to the first image, in no time."""

import hashlib
import time

from influencerai_dagster.media.images import near_duplicates


def test_near_duplicates_point_to_the_first_that_was_kept() -> None:
    hashes = ["0" * 16, "f" * 16, "0" * 15 + "1", "0" * 15 + "7", "f" * 16, "0" * 15 + "3"]
    assert near_duplicates(hashes, 2) == {2: 0, 4: 1, 5: 0}
    assert near_duplicates(hashes, 0) == {4: 1}
    assert near_duplicates([], 2) == {}


def test_near_duplicates_of_five_thousand_images_are_found_quickly() -> None:
    hashes = [hashlib.sha256(str(n).encode()).hexdigest()[:16] for n in range(5000)]
    hashes[4000] = hashes[10]
    began = time.process_time()
    assert near_duplicates(hashes, 2) == {4000: 10}
    assert time.process_time() - began < 3
