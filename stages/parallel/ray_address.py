"""Where a Ray cluster is, and why it cannot be had."""

import logging
import socket

from stages.base.errors import UserError

REACHED = 5.0  # seconds in which a cluster must answer


def connect(address: str) -> tuple[str, int]:
    """Connect this process to the cluster at host:port, or to the one that this machine is in (`auto`).

    Returns host and port of its head. Raises UserError.
    """
    import ray

    try:
        found = ray.init(
            address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace="maskcli",
            include_dashboard=False,
        )
    except Exception as error:  # Ray raises many kinds, in many lines
        raise UserError(_why(address, error)) from error
    host, _, port = str(found["gcs_address"]).rpartition(":")
    return host, int(port)


def reach(address: str) -> None:
    """Raise UserError unless something answers there; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--address {address}: is no address; write host:port as `ray start --head` says it, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=REACHED).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({why}); start one with "
            f"`ray start --head --port={port} --disable-usage-stats`"
        ) from None


def _why(address: str, error: Exception) -> str:
    """Why Ray would not connect, in one line."""
    text = " ".join(str(error).split())
    if "ersion mismatch" in text or "was started with" in text:
        return f"--address {address}: other versions run there ({text[:300]}); install the same Ray and Python on all machines"
    if isinstance(error, ConnectionError):
        return (
            f"--address {address}: no node of a Ray cluster runs on this machine; run `ray start --address=host:port "
            "--disable-usage-stats` here too, or `ray start --head --disable-usage-stats` for a new one"
        )
    return f"--address {address}: Ray cannot connect ({type(error).__name__}: {text[:300]})"
