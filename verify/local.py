"""The environment on this machine, as its folder and its processes show it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from core.errors import ServiceError
from core.platform import Environment


@dataclass(frozen=True)
class Local:
    """What `falaj up` made in a folder.

    Attributes:
        home: Folder of the substrate.
    """

    home: Path
    environment: Environment

    @property
    def data(self) -> Path:
        """Folder of what outlives the processes."""
        return self.home / "data"

    @property
    def gateway(self) -> str:
        """Where requests go."""
        return self.environment.services["gateway"].url

    @cached_property
    def sockets(self) -> Path:
        """Folder of the supervisor's socket, as its configuration names it.

        Raises:
            ServiceError: The configuration is gone.
        """
        file = self.supervisor
        try:
            lines = file.read_text().splitlines()
        except OSError as error:
            raise ServiceError(f"{file} cannot be read ({error.strerror}): run `falaj up`") from error
        pid = next(line.partition("=")[2].strip() for line in lines if line.startswith("pidfile"))
        return Path(pid).parent

    @property
    def supervisor(self) -> Path:
        """Configuration of the supervisor."""
        return self.home / "conf" / "supervisord.conf"

    @cached_property
    def processes(self) -> list[psutil.Process]:
        """The supervisor and all below it.

        Raises:
            ServiceError: It does not run.
        """
        try:
            found = psutil.Process(int((self.sockets / "supervisord.pid").read_text()))
            return [found, *found.children(recursive=True)]
        except (OSError, ValueError, psutil.Error) as error:
            raise ServiceError(f"the supervisor of {self.home} does not run: run `falaj up`") from error
