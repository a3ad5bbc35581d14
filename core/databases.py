"""Makes the users, databases and secrets that a stack's services find when they start.

`python -m core.databases` reads from FALAJ_DATABASES what there is to be, and changes only what is not so yet: it
may run as often as one likes. Each user owns databases that no other user may connect to; its password is made
here, put into its own secret of Secrets Manager and never shown.
"""

import json
import logging
import os
import secrets
import sys
from typing import Annotated, Any, Literal

import boto3
import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, FalajError, ServiceError

VARIABLE = "FALAJ_DATABASES"
_SECRET_BYTES = 32
_CONNECT_SECONDS = 15
_log = logging.getLogger(__name__)

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""A name that needs no quotes in any of the engines."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Login(_Part):
    """A user and what it owns."""

    secret: str
    """Name of the secret that holds `username` and `password`, or is empty until now."""
    user: Identifier
    databases: tuple[Identifier, ...] = Field(min_length=1)


class Server(_Part):
    """A database server."""

    engine: Literal["postgresql", "mysql"]
    host: str
    port: int
    authority: str
    """File with the certificates of the authorities that may have signed the server's."""
    master: str
    """ARN of the secret of the user who may make others: `username` and `password`."""
    logins: tuple[Login, ...]


class Wanted(_Part):
    """What there is to be."""

    servers: tuple[Server, ...]
    keys: tuple[str, ...] = ()
    """Names of secrets that hold a random `key`, or are empty until now."""


class Vault:
    """Secrets of Secrets Manager whose values are JSON objects of text."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def read(self, name: str) -> dict[str, str] | None:
        """The value of a secret; None where it has none yet.

        Raises:
            ConfigError: There is no such secret, or its value is not such an object.
            ServiceError: Secrets Manager cannot be reached, or refuses.
        """
        try:
            self._client.describe_secret(SecretId=name)
        except ClientError as error:
            if _code(error) == "ResourceNotFoundException":
                raise ConfigError(f"there is no secret {name}: `falaj up` makes it before this runs") from error
            raise _refused(name, error) from error
        except BotoCoreError as error:
            raise ServiceError(f"secret {name} cannot be read: {error}") from error
        return self._value(name)

    def fill(self, name: str, value: dict[str, str]) -> dict[str, str]:
        """Put `value` into a secret that has none."""
        try:
            self._client.put_secret_value(SecretId=name, SecretString=json.dumps(value))
        except ClientError as error:
            raise _refused(name, error) from error
        _log.info("secret %s: filled", name)
        return value

    def _value(self, name: str) -> dict[str, str] | None:
        try:
            text = self._client.get_secret_value(SecretId=name)["SecretString"]
        except ClientError as error:
            if _code(error) == "ResourceNotFoundException":
                return None
            raise _refused(name, error) from error
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = None
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            # The value itself must not get into any message.
            raise ConfigError(f"secret {name} holds something else than an object of texts: empty it, or correct it")
        return value


def prepare(wanted: Wanted, vault: Vault) -> None:
    """Make whatever is missing.

    Raises:
        ConfigError: A secret or a database is there and belongs to someone else.
        ServiceError: A server or Secrets Manager cannot be reached, or refuses.
    """
    for name in wanted.keys:
        if vault.read(name) is None:
            vault.fill(name, {"key": secrets.token_hex(_SECRET_BYTES)})
    for server in wanted.servers:
        master = vault.read(server.master)
        if master is None or not {"username", "password"} <= master.keys():
            raise ConfigError(f"secret {server.master} lacks username or password: RDS writes it when the server is up")
        passwords = {login: _password(login, vault) for login in server.logins}
        if server.engine == "postgresql":
            _postgresql(server, master, passwords)
        else:
            _mysql(server, master, passwords)


def _password(login: Login, vault: Vault) -> str:
    value = vault.read(login.secret)
    if value is None:
        value = vault.fill(login.secret, {"username": login.user, "password": secrets.token_urlsafe(_SECRET_BYTES)})
    if value.get("username") != login.user or not value.get("password"):
        raise ConfigError(
            f"secret {login.secret} is not that of user {login.user}: let it hold username and password, or empty it"
        )
    return value["password"]


def _postgresql(server: Server, master: dict[str, str], passwords: dict[Login, str]) -> None:
    try:
        with psycopg.connect(
            host=server.host,
            port=server.port,
            dbname="postgres",
            user=master["username"],
            password=master["password"],
            sslmode="verify-full",
            sslrootcert=server.authority,
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,
        ) as connection:
            for login, password in passwords.items():
                _role(connection, login, password)
                for database in login.databases:
                    _database(connection, login, database)
    except psycopg.Error as error:
        raise _failed(server, error) from error


def _role(connection: psycopg.Connection[Any], login: Login, password: str) -> None:
    user = sql.Identifier(login.user)
    # The server gets and logs a verifier, from which the password cannot be had back.
    verifier = connection.pgconn.encrypt_password(password.encode(), login.user.encode(), b"scram-sha-256").decode()
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login.user]).fetchone()
    verb = sql.SQL("ALTER" if known else "CREATE")
    connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, user, sql.Literal(verifier)))
    # Who makes a database for another must be able to become the other; RDS's first user is no superuser.
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(user))
    _log.info("user %s: %s", login.user, "there" if known else "made")


def _database(connection: psycopg.Connection[Any], login: Login, database: str) -> None:
    user, name = sql.Identifier(login.user), sql.Identifier(database)
    owner = connection.execute(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]
    ).fetchone()
    if owner is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, user))
    elif owner[0] != login.user:
        raise ConfigError(f"database {database} belongs to {owner[0]}: give it to {login.user}, or drop it")
    connection.execute(sql.SQL("SET ROLE {}").format(user))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    connection.execute("RESET ROLE")
    _log.info("database %s: %s", database, "made" if owner is None else "there")


def _mysql(server: Server, master: dict[str, str], passwords: dict[Login, str]) -> None:
    # Imported where it is needed: hardly any stack has a MySQL.
    import pymysql

    try:
        connection = pymysql.connect(
            host=server.host,
            port=server.port,
            user=master["username"],
            password=master["password"],
            ssl_ca=server.authority,
            ssl_verify_cert=True,
            ssl_verify_identity=True,
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,
        )
        with connection, connection.cursor() as cursor:
            for login, password in passwords.items():
                for verb in ("CREATE USER IF NOT EXISTS", "ALTER USER"):
                    cursor.execute(f"{verb} {login.user}@'%%' IDENTIFIED BY %s REQUIRE SSL", [password])
                for database in login.databases:
                    cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
                    # An underscore in the name of a database stands for any letter here.
                    pattern = database.replace("_", r"\_")
                    cursor.execute(f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO {login.user}@'%'")
                _log.info("user %s with %s: there", login.user, ", ".join(login.databases))
    except pymysql.Error as error:
        raise _failed(server, error) from error


def _failed(server: Server, error: Exception) -> ServiceError:
    return ServiceError(f"{server.engine} at {server.host}:{server.port}: {str(error).strip()}")


def _refused(secret: str, error: ClientError) -> ServiceError:
    return ServiceError(
        f"secret {secret}: {error}. The role of service account preparation/databases must be allowed what it does"
    )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def main() -> int:
    """Read what is wanted, and make it; 1 where it could not be."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        wanted = Wanted.model_validate_json(os.environ.get(VARIABLE, ""))
        prepare(wanted, Vault(boto3.client("secretsmanager")))
    except ValidationError as error:
        _log.error("%s is not what core/databases.py reads: %s", VARIABLE, error)
        return 1
    except (FalajError, BotoCoreError) as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
