import hashlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.digest import ROOT, bytes_digest, canonical, code_digest, environment_digest, file_digest, tree_digest

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
)


@given(value=st.dictionaries(st.text("abc", max_size=3), _JSON))
def test_equal_values_have_equal_bytes(value: dict[str, object]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(3 << 20)
    (tmp_path / "file").write_bytes(data)

    assert file_digest(tmp_path / "file") == bytes_digest(data) == "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_tree_digest_follows_names_and_contents_and_not_the_place(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        (tmp_path / copy / "sub").mkdir(parents=True)
        (tmp_path / copy / "a").write_text("a")
        (tmp_path / copy / "sub" / "b").write_text("b")

    def digest(copy: str) -> str:
        folder = tmp_path / copy
        return tree_digest(folder, (path for path in folder.rglob("*") if path.is_file()))

    assert digest("one") == digest("two")
    (tmp_path / "two" / "a").write_text("b")
    assert digest("one") != digest("two")
    (tmp_path / "two" / "a").write_text("a")
    (tmp_path / "two" / "sub" / "b").rename(tmp_path / "two" / "b")
    assert digest("one") != digest("two")


def test_the_code_digest_changes_with_the_source(tmp_path: Path) -> None:
    for package in ("core", "features", "components", "pipelines"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))

    assert code_digest(tmp_path) == code_digest()
    with (tmp_path / "core" / "digest.py").open("a") as source:
        source.write("\n")
    assert code_digest(tmp_path) != code_digest()


def test_the_environment_is_the_lock() -> None:
    assert environment_digest() == file_digest(ROOT / "uv.lock")
