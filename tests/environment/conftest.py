"""One local environment for all tests here: brought up by the command line, on ports and in a home of its own."""

from collections.abc import Iterator

import pytest
import testinfra
from testinfra.host import Host

from core.contract import DataContract, load_contract
from tests.environment.local import ROOT, Local, write_stack_file


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """The environment as `falaj up` leaves it: services up, the sample trained and live."""
    folder = tmp_path_factory.mktemp("environment")
    made = Local(folder / "home", folder / "Pulumi.local.yaml", "")
    write_stack_file(made.stack_file)
    try:
        first_up = made.up()
        yield Local(made.home, made.stack_file, first_up.stdout + first_up.stderr)
    finally:
        made.run("down", "--delete-data", check=False)
        assert not made.home.exists()


@pytest.fixture(scope="session")
def machine() -> Host:
    """This machine, as pytest-testinfra sees it."""
    return testinfra.get_host("local://")


@pytest.fixture(scope="session")
def employment() -> DataContract:
    return load_contract(ROOT / "datasets" / "employment" / "contract.yaml")
