"""The project's error tree. Each message says what is wrong and which file or setting mends it."""


class FalajError(Exception):
    """Base of every error that is meant for a person; the command line prints it without a traceback."""


class ConfigError(FalajError):
    """A setting of a stack, or of the process's environment, is missing or out of range."""


class ContractError(FalajError):
    """A data contract cannot be read or contradicts itself."""


class DataError(FalajError):
    """Input data cannot be read, or does not have the columns that its contract names."""


class ConsentError(FalajError):
    """Consent is required by the contract and its source is missing or unreadable."""


class GateError(FalajError):
    """A quality or fairness gate of the contract failed; nothing is promoted."""


class StorageError(FalajError):
    """A folder or bucket cannot be read or written; the message names it and what to set."""


class AuditError(FalajError):
    """The audit log was altered, or cannot be written."""


class ServiceError(FalajError):
    """A service of the platform cannot be reached, or refused."""


class PlanError(FalajError):
    """The program declares what the engine would refuse, what leaks a secret, or what differs from run to run."""
