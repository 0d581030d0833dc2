"""Tags keep their ids for ever; definitions count up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import Catalogue, Tag

NAMES = st.sampled_from("abcdef")
DEFINITIONS = st.lists(
    st.builds(Tag, id=st.integers(-5, 5), name=NAMES, unit=st.sampled_from(["", "kN"]), version=st.integers(0, 9)), unique_by=lambda t: t.name
)


def test_ids_are_dense_and_names_unique() -> None:
    with pytest.raises(ValueError, match="expected tag id 1, found 2"):
        Catalogue([Tag(id=0, name="a"), Tag(id=2, name="b")])
    with pytest.raises(ValueError, match="found a name twice"):
        Catalogue([Tag(id=0, name="a"), Tag(id=1, name="a")])


def test_looking_up() -> None:
    c = Catalogue([Tag(id=1, name="b"), Tag(id=0, name="a")])
    assert [t.name for t in c] == ["a", "b"]
    assert (c.id("b"), c[1].name, "a" in c, "z" in c, c.get("z"), c.get("a"), dict(c.ids)) == (1, "b", True, False, None, c[0], {"a": 0, "b": 1})
    with pytest.raises(KeyError):
        c.id("z")


@given(st.lists(DEFINITIONS, max_size=6))
def test_an_id_never_changes_its_name_and_versions_only_rise_with_a_change(revisions: list[list[Tag]]) -> None:
    catalogue = Catalogue([])
    for definitions in revisions:
        before, catalogue = catalogue, catalogue.revised(definitions)
        assert [t.name for t in before] == [t.name for t in catalogue][: len(before)]
        wanted = {d.name: d for d in definitions}
        for tag in catalogue:
            old = before.get(tag.name)
            if tag.name in wanted:
                assert tag.unit == wanted[tag.name].unit
            if old is None:
                assert tag.version == 1
            else:
                assert tag.version == old.version + (tag.unit != old.unit)
        assert list(catalogue.revised(definitions)) == list(catalogue), "the same again changes nothing"


def test_a_name_that_is_no_longer_defined_keeps_its_id() -> None:
    c = (
        Catalogue([])
        .revised([Tag(id=0, name="a"), Tag(id=0, name="b")])
        .revised([Tag(id=0, name="b")])
        .revised([Tag(id=0, name="c"), Tag(id=0, name="a")])
    )
    assert [(t.id, t.name, t.version) for t in c] == [(0, "a", 1), (1, "b", 1), (2, "c", 1)]


@pytest.mark.parametrize(
    ("path", "name", "unit"),
    [("site/area/line/u1", "press1/force", "site/area/line/u1"), ("", "press1/main/force", "press1/main"), ("", "force", "")],
)
def test_the_unit_of_a_tag(path: str, name: str, unit: str) -> None:
    assert Tag(id=0, name=name, path=path).unit_path == unit


def test_what_is_never_shed() -> None:
    classes = {cls: Tag(id=0, name="a", class_=cls).never_shed for cls in ("gmp_critical", "gmp", "safety", "environment", "other")}
    assert classes == {"gmp_critical": True, "gmp": True, "safety": True, "environment": False, "other": False}


def test_definitions_refuse_unknown_fields() -> None:
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(b'{"id":0,"name":"a","colour":"red"}', type=Tag)
