"""One suite over both kinds of store: a folder and a bucket behind TLS."""

import json
import threading
from pathlib import Path

import pytest

from core import storage
from core.errors import StorageError
from rehearsal.ports import free_ports
from tests.storage.servers import ObjectStore


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "place") if request.param == "folder" else str(request.getfixturevalue("bucket"))


def test_what_is_written_is_read(place: str) -> None:
    uri = storage.join(place, "a", "b.txt")
    assert storage.read(uri) is None
    storage.write(uri, b"one")
    storage.write(uri, b"two")

    assert storage.read(uri) == b"two"
    with storage.opened(uri) as stream:
        assert stream.read(2) == b"tw"
    assert storage.names(place) == ["a"]
    assert storage.names(storage.join(place, "a")) == ["b.txt"]


def test_a_folder_that_is_not_there_holds_nothing(place: str) -> None:
    assert storage.names(storage.join(place, "none")) == []


def test_what_is_deleted_is_gone(place: str) -> None:
    for name in ("a", "b", "c"):
        storage.write(storage.join(place, "folder", name), b"x")
    storage.delete(storage.join(place, "folder", "a"))
    assert storage.names(storage.join(place, "folder")) == ["b", "c"]
    storage.delete(storage.join(place, "folder"))
    storage.delete(storage.join(place, "folder"))

    assert storage.names(place) == []


def test_of_many_writers_one_creates(place: str) -> None:
    uri = storage.join(place, "one")
    storage.write(storage.join(place, "other"), b"")
    won: list[int] = []

    def attempt(number: int) -> None:
        if storage.create(uri, str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert storage.read(uri) == str(won[0]).encode()


def test_a_file_that_changed_is_not_replaced(place: str) -> None:
    uri = storage.join(place, "one")
    assert storage.tag(uri) is None
    assert storage.replace(uri, b"1", None)
    assert not storage.replace(uri, b"2", None)
    seen = storage.tag(uri)
    assert storage.replace(uri, b"2", seen)
    assert not storage.replace(uri, b"3", seen)

    assert storage.read(uri) == b"2"
    storage.delete(uri)
    assert not storage.replace(uri, b"3", storage.tag(storage.join(place, "none")) or seen)


def test_large_files_arrive_whole(place: str) -> None:
    data = bytes(range(256)) * (101 * 2**20 // 256)
    uri = storage.join(place, "large")
    storage.write(uri, data)

    assert storage.read(uri) == data


def test_a_missing_bucket_is_named(s3: ObjectStore) -> None:
    for attempt in (
        lambda: storage.read("s3://nosuch/a"),
        lambda: storage.write("s3://nosuch/a", b""),
        lambda: storage.create("s3://nosuch/a", b""),
        lambda: storage.names("s3://nosuch/a"),
    ):
        with pytest.raises(StorageError, match=r"s3://nosuch/a cannot be \w+: the bucket does not exist"):
            attempt()


def test_a_refused_right_is_named(s3: ObjectStore, bucket: str) -> None:
    storage.write(f"{bucket}/a", b"")
    name = bucket.removeprefix("s3://")
    deny = {"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"]}
    deny["Resource"] = [f"arn:aws:s3:::{name}/*"]
    s3.client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))

    with pytest.raises(StorageError, match=rf"{bucket}/a cannot be read: access is denied"):
        storage.read(f"{bucket}/a")
    with pytest.raises(StorageError, match=rf"{bucket}/a cannot be written: access is denied"):
        storage.write(f"{bucket}/a", b"")


def test_a_store_that_is_gone_is_named(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://localhost:{free_ports(1)[0]}")
    with pytest.raises(StorageError, match=r"s3://any/a cannot be read: the store cannot be reached.*AWS_ENDPOINT_URL"):
        storage.read("s3://any/a")


def test_an_unknown_authority_is_named(bucket: str, forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(StorageError, match=r"certificate is not trusted: set AWS_CA_BUNDLE"):
        storage.write(f"{bucket}/a", b"")


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(StorageError, match="gs is not a store that is known"):
        storage.read("gs://bucket/a")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a cannot be written"):
        storage.write(tmp_path / "file" / "a", b"")
