"""The servers, once for all tests of this folder, and a bucket of its own for each test."""

from collections.abc import Iterator

import fsspec
import pytest

from tests.storage.servers import Authority, Cache, Database, ObjectStore, cache, database, object_store


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def objects(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(authority, tmp_path_factory.mktemp("objects")) as found:
        yield found


@pytest.fixture(scope="session")
def postgres(authority: Authority) -> Iterator[Database]:
    with database(authority) as found:
        yield found


@pytest.fixture(scope="session", params=[1, 2], ids=["redis", "cluster"])
def online(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cache]:
    with cache(authority, tmp_path_factory.mktemp("cache"), shards=request.param) as found:
        yield found


@pytest.fixture
def s3(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The store as this process's environment names it."""
    for name, value in objects.environment.items():
        monkeypatch.setenv(name, value)
    return objects


@pytest.fixture
def forgotten(s3: ObjectStore) -> Iterator[None]:
    """For tests that change the environment: no client that was made before is used, nor one of theirs after."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def bucket(s3: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A new bucket's address."""
    name = f"b{abs(hash(request.node.nodeid)):x}"
    s3.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "me-central-1"})
    return f"s3://{name}"
