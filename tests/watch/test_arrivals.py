"""Which files are complete, by the clock and what a scan says."""

from flawsight.io.file_stamp import FileStamp
from flawsight.watch.arrivals import Arrivals

A, B = (10, 1, 1), (20, 2, 2)


def stamp(signature: tuple[int, int, int]) -> FileStamp:
    size, modified, changed = signature
    return FileStamp(size, "0" * 8, modified, changed)


def test_a_file_is_taken_once_it_has_not_changed_for_a_while() -> None:
    arrivals = Arrivals({}, settle=1.0)
    arrivals.see({"a": A}, 0.0)
    assert arrivals.take(9, 0.9) == []
    arrivals.see({"a": B}, 0.9)  # it grew
    assert arrivals.take(9, 1.5) == []
    arrivals.see({"a": B}, 1.8)
    assert arrivals.take(9, 1.9) == ["a"]
    assert arrivals.take(9, 5.0) == []  # it is being inspected
    arrivals.finish("a", stamp(B))
    arrivals.see({"a": B}, 6.0)
    assert arrivals.take(9, 9.0) == []
    assert arrivals.waiting == 0


def test_the_oldest_come_first_and_no_more_than_asked_for() -> None:
    arrivals = Arrivals({}, settle=0.0)
    arrivals.see({"c": (1, 30, 0), "a": (1, 20, 0), "b": (1, 10, 0)}, 0.0)
    assert arrivals.take(2, 0.0) == ["b", "a"]
    assert arrivals.take(2, 0.0) == ["c"]


def test_what_is_done_is_taken_again_only_after_a_change() -> None:
    arrivals = Arrivals({"a": stamp(A)}, settle=1.0)
    arrivals.see({"a": A}, 0.0)
    assert arrivals.take(9, 5.0) == []
    arrivals.see({}, 6.0)  # a share that was lost for a moment
    arrivals.see({"a": A}, 7.0)
    assert arrivals.take(9, 9.0) == []
    arrivals.see({"a": B}, 10.0)
    assert arrivals.take(9, 11.0) == ["a"]
    assert arrivals.stamp("a") == stamp(A)


def test_a_file_that_changes_while_it_is_inspected_is_inspected_again() -> None:
    arrivals = Arrivals({}, settle=1.0)
    arrivals.see({"a": A}, 0.0)
    assert arrivals.take(9, 1.0) == ["a"]
    arrivals.see({"a": B}, 1.5)
    arrivals.finish("a", stamp(A))
    assert arrivals.take(9, 2.0) == []
    arrivals.see({"a": B}, 2.5)
    assert arrivals.take(9, 2.5) == ["a"]


def test_what_cannot_be_read_waits_until_it_changes_or_patience_ends() -> None:
    arrivals = Arrivals({}, settle=1.0, patience=10.0)
    arrivals.see({"a": A}, 0.0)
    assert arrivals.take(9, 1.0) == ["a"]
    assert arrivals.may_come("a", 1.1)
    arrivals.put_back("a")
    assert arrivals.take(9, 10.9) == []
    assert arrivals.take(9, 11.0) == ["a"]
    assert not arrivals.may_come("a", 11.0)
    arrivals.fail("a")
    arrivals.see({"a": A}, 12.0)
    assert arrivals.take(9, 99.0) == []
    arrivals.see({"a": B}, 100.0)
    assert arrivals.take(9, 101.0) == ["a"]
    arrivals.put_back("a")
    arrivals.see({"a": (30, 3, 3)}, 102.0)  # a change ends the wait
    assert arrivals.take(9, 103.0) == ["a"]


def test_another_file_may_come_under_the_name_of_one_that_is_forgotten() -> None:
    arrivals = Arrivals({}, settle=0.0)
    arrivals.see({"a": A}, 0.0)
    arrivals.take(1, 0.0)
    arrivals.finish("a", stamp(A))
    arrivals.forget("a")
    arrivals.see({"a": A}, 1.0)
    assert arrivals.take(1, 1.0) == ["a"]
    arrivals.drop("a")
    assert arrivals.waiting == 0
