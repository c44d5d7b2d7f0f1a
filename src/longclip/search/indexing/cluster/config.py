"""The configuration of a cluster."""

from dataclasses import dataclass

from longclip.errors import UsageError


@dataclass(frozen=True)
class Cluster:
    """What `index` needs to know to embed with Ray Data.

    Attributes:
        address: of a running cluster, as `ray.init` takes it: `auto` on one of its machines, or
            HOST:PORT. Without, one is started on this machine and stopped at the end. A Ray that
            the program has started itself is used as it is.
        device: where the model runs on the workers: `cpu` or `cuda`.
        encoders: processes that hold the model. Without: as many as the cluster has GPUs, or
            processors where the model runs on those.
        images_per_task: how many are read and decoded in one task.
    """

    address: str | None = None
    device: str = "cpu"
    encoders: int | None = None
    images_per_task: int = 64

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"on a cluster the device is cpu or cuda, not {self.device!r}")
        for name in ("encoders", "images_per_task"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
