"""The runtime's settings, by flag or by environment variable."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError

Provider = Literal["cpu", "cuda", "tensorrt"]
"""What graphs run on."""
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """Each is set by the flag `--<field>`, with dashes, or else by the variable FALAJ_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_repository: str = Field(description="folder of the models, or s3://bucket/prefix")
    inference_log: str = Field(description="folder that the inference log is written below, or s3://bucket/prefix")
    log_spool: Path | None = Field(
        None, description="folder of this machine for the log's journal; needed where the log lies in a bucket"
    )
    log_spool_bytes: int = Field(
        512 << 20, ge=1 << 20, description="size of the journal at which nothing is answered until it is written out"
    )
    follow_seconds: float = Field(5.0, gt=0, description="time between two looks at what the repository says")
    host: str = Field("127.0.0.1", description="address to listen on")
    http_port: Port = Field(8085, description="port of REST and metrics")
    grpc_port: Port = Field(8086, description="port of gRPC")
    feature_store: Path | None = Field(None, description="folder of feature_store.yaml, which names the online store")
    feature_timeout: float = Field(2.0, gt=0, description="seconds until a feature look-up is given up")
    pseudonym_key_file: Path | None = Field(None, description="key that identifiers are hashed with")
    processes: int = Field(1, ge=0, description="processes behind the ports; 0 is one for each core that there is")
    threads: int = Field(1, ge=1, description="threads within one run of a graph")
    provider: Provider = Field("cpu", description="what graphs run on: cpu, cuda or tensorrt")
    cpu_fallback: bool = Field(False, description="whether they run on the CPU where the provider cannot be had")
    engine_cache: Path | None = Field(None, description="folder that TensorRT keeps its engines in, for the next start")
    max_batch_rows: int = Field(
        256, ge=1, description="rows of different requests that are run together at most; measured below it"
    )
    max_batch_tokens: int = Field(
        16384,
        ge=1,
        description="rows times length, filled up, of a run of sequences, and so of one request; bounds its memory",
    )
    max_request_rows: int = Field(1024, ge=1, description="rows that one request may have")
    max_queued_rows: int = Field(32768, ge=1, description="rows that may wait, a model; above it the answer is 503")
    max_queue_seconds: float = Field(
        1.0, gt=0, description="time that a queue may take to be answered, a model; above it the answer is 503"
    )
    max_body_bytes: int = Field(8 << 20, ge=1024, description="size of a request's body; above it the answer is 413")
    max_connections: int = Field(4096, ge=1, description="connections of REST; above it the answer is 503")
    max_buffered_bytes: int = Field(
        256 << 20, ge=1 << 20, description="bytes of bodies that are not yet there whole; above it the answer is 503"
    )
    log_rotate_seconds: float = Field(5.0, gt=0, description="age at which a journal segment becomes Parquet")
    log_rotate_bytes: int = Field(64 << 20, ge=1 << 16, description="size at which a journal segment becomes Parquet")
    drain_seconds: float = Field(
        1.0, ge=0, description="time between not ready and no longer listening, for load balancers to see it"
    )
    grace_seconds: float = Field(30.0, gt=0, description="time that requests in flight are given at the end")

    @classmethod
    def parse(cls, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Self:
        """Read flags and environment; a flag wins.

        Raises:
            ConfigError: A setting is missing or out of range; the message names its flag and variable.
        """
        parser = argparse.ArgumentParser(
            prog="python -m serving.runtime",
            description="Serves ONNX models over the Open Inference Protocol v2 (REST and gRPC).",
            allow_abbrev=False,
        )
        for name, field in cls.model_fields.items():
            default = "required" if field.is_required() else f"default {field.default}"
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                metavar="VALUE",
                help=f"{field.description} ({default}; {_variable(name)})",
            )
        values = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
        for name in cls.model_fields:
            if name not in values and environment.get(_variable(name)):
                values[name] = environment[_variable(name)]
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = [
                f"--{str(fault['loc'][0]).replace('_', '-')} ({_variable(str(fault['loc'][0]))}): {fault['msg']}"
                for fault in error.errors()
            ]
            raise ConfigError("; ".join(faults)) from error


def _variable(field: str) -> str:
    return f"FALAJ_{field.upper()}"
