import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto import mock_aws

from core.databases import VARIABLE, Login, Server, Vault, Wanted, prepare
from core.errors import ConfigError, ServiceError
from core.pseudonym import Pseudonymiser
from tests.storage.servers import REGION, Authority, Database, database, object_store

MASTER = {"username": "master", "password": "sesame-first-user"}
STORES = ("falaj-test/tracking", "falaj-test/feature-registry", "falaj-test/pseudonym", "rds/master")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Database]:
    """PostgreSQL whose first user has the rights of RDS's: it makes users and databases, and is no superuser."""
    with database(authority) as found:
        with psycopg.connect(found.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER['password']}'")
        yield found


@pytest.fixture(autouse=True)
def empty(server: Database) -> Iterator[None]:
    yield
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        for name in ("tracking", "feature_registry", "extra"):
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
        for name in ("tracking", "feature_registry"):
            connection.execute(f"DROP ROLE IF EXISTS {name}")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "example")
    with mock_aws():
        found: Any = boto3.client("secretsmanager", region_name=REGION)
        fill(found)
        yield found


def fill(client: Any) -> None:
    for name in STORES:
        client.create_secret(Name=name)
    client.put_secret_value(SecretId="rds/master", SecretString=json.dumps(MASTER))


def wanted(server: Database, **changes: Any) -> Wanted:
    fields: dict[str, Any] = {
        "engine": "postgresql",
        "host": "localhost",
        "port": server.port,
        "authority": server.environment["PGSSLROOTCERT"],
        "master": "rds/master",
        "logins": (
            Login(secret="falaj-test/tracking", user="tracking", databases=("tracking", "extra")),
            Login(secret="falaj-test/feature-registry", user="feature_registry", databases=("feature_registry",)),
        ),
    }
    return Wanted(servers=(Server(**fields | changes),), keys=("falaj-test/pseudonym",))


def secret(client: Any, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    return found


def connect(server: Database, login: dict[str, str], name: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="localhost",
        port=server.port,
        user=login["username"],
        password=login["password"],
        dbname=name,
        sslmode="verify-full",
        sslrootcert=server.environment["PGSSLROOTCERT"],
    )


def test_each_user_owns_its_databases_and_reaches_no_others(server: Database, client: Any) -> None:
    prepare(wanted(server), Vault(client))
    tracking = secret(client, "falaj-test/tracking")
    registry = secret(client, "falaj-test/feature-registry")
    assert tracking["password"] != registry["password"]
    for login, name in ((tracking, "tracking"), (tracking, "extra"), (registry, "feature_registry")):
        with connect(server, login, name) as connection:
            connection.execute("CREATE TABLE public.one (id int)")
    for login, name in ((registry, "tracking"), (registry, "extra"), (tracking, "feature_registry")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(server, login, name)


def test_a_second_run_changes_no_password(server: Database, client: Any) -> None:
    prepare(wanted(server), Vault(client))
    before = [secret(client, name) for name in STORES]
    prepare(wanted(server), Vault(client))
    assert [secret(client, name) for name in STORES] == before
    connect(server, secret(client, "falaj-test/tracking"), "tracking").close()


def test_a_password_that_was_replaced_in_the_secret_becomes_the_user_s(server: Database, client: Any) -> None:
    prepare(wanted(server), Vault(client))
    changed = {"username": "tracking", "password": "another-sesame"}
    client.put_secret_value(SecretId="falaj-test/tracking", SecretString=json.dumps(changed))
    prepare(wanted(server), Vault(client))
    connect(server, changed, "tracking").close()


def test_the_pseudonym_key_is_one(server: Database, client: Any, tmp_path: Path) -> None:
    prepare(wanted(server), Vault(client))
    file = tmp_path / "key"
    file.write_text(secret(client, "falaj-test/pseudonym")["key"])
    assert len(Pseudonymiser.from_file(file, "person")("1")) == 32


def test_the_passwords_are_not_in_the_server_s_hands(server: Database, client: Any) -> None:
    prepare(wanted(server), Vault(client))
    with psycopg.connect(server.dsn("postgres")) as connection:
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'tracking'").fetchone()
    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")


def test_a_database_of_someone_else_is_left_alone(server: Database, client: Any) -> None:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE extra")
    with pytest.raises(ConfigError, match="database extra belongs to falaj: give it to tracking"):
        prepare(wanted(server), Vault(client))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"username": "someone", "password": "sesame"}, "is not that of user tracking"),
        ({"username": "tracking"}, "is not that of user tracking"),
        (["sesame"], "something else than an object"),
    ],
)
def test_a_secret_of_something_else_is_not_overwritten(
    server: Database, client: Any, value: object, message: str
) -> None:
    client.put_secret_value(SecretId="falaj-test/tracking", SecretString=json.dumps(value))
    with pytest.raises(ConfigError, match=message) as raised:
        prepare(wanted(server), Vault(client))
    assert "sesame" not in str(raised.value)
    assert json.loads(client.get_secret_value(SecretId="falaj-test/tracking")["SecretString"]) == value


def test_a_secret_that_no_one_made_is_named(server: Database, client: Any) -> None:
    with pytest.raises(ConfigError, match="there is no secret rds/other"):
        prepare(wanted(server, master="rds/other"), Vault(client))


def test_a_master_without_a_value_is_named(server: Database, client: Any) -> None:
    client.create_secret(Name="rds/new")
    with pytest.raises(ConfigError, match="rds/new lacks username or password"):
        prepare(wanted(server, master="rds/new"), Vault(client))


def test_a_server_of_another_authority_is_refused(server: Database, client: Any, tmp_path: Path) -> None:
    other = Authority.make(tmp_path)
    with pytest.raises(ServiceError, match="certificate verify failed"):
        prepare(wanted(server, authority=str(other.certificate)), Vault(client))


def test_a_server_that_is_not_there_is_named(server: Database, client: Any) -> None:
    with pytest.raises(ServiceError, match="postgresql at localhost:1: "):
        prepare(wanted(server, port=1), Vault(client))


def run(document: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core.databases"],
        env={"PATH": os.environ["PATH"], VARIABLE: document, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_as_a_program_it_tells_no_secret(server: Database, authority: Authority, tmp_path: Path) -> None:
    with object_store(authority, tmp_path) as service:
        environment = {**service.environment, "AWS_ENDPOINT_URL": service.endpoint}
        client: Any = boto3.client(
            "secretsmanager",
            endpoint_url=service.endpoint,
            region_name=REGION,
            verify=str(authority.certificate),
            aws_access_key_id="example",
            aws_secret_access_key="example",
        )
        fill(client)
        done = run(wanted(server).model_dump_json(), environment)
        assert done.returncode == 0, done.stderr
        assert "user tracking: made" in done.stderr
        for name in STORES:
            for key, value in secret(client, name).items():
                assert key == "username" or value not in done.stderr + done.stdout
        refused = run(wanted(server, master="rds/other").model_dump_json(), environment)
        assert refused.returncode == 1
        assert "there is no secret rds/other" in refused.stderr


def test_a_document_that_makes_no_sense_is_refused() -> None:
    done = run("{}", {"AWS_REGION": REGION})
    assert done.returncode == 1
    assert "FALAJ_DATABASES is not what core/databases.py reads" in done.stderr


def test_without_a_region_it_says_so(server: Database) -> None:
    done = run(wanted(server).model_dump_json(), {})
    assert done.returncode == 1
    assert "ERROR You must specify a region." in done.stderr


@pytest.mark.parametrize("name", ["Robert'); DROP", "1st", "", "x" * 40])
def test_names_need_no_quotes(name: str) -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        Login(secret="one", user=name, databases=("one",))
