"""How a vLLM server gets the prover's weights: as files in a folder that both see, or by NCCL from GPU to GPU.

Both end with a *version*, a label that the server takes on after the weights and tells with everything it samples.
`FolderTransfer` needs nothing but a common disk: a checkpoint is written, vLLM's workers reload it in place
(`/collective_rpc` with `reload_weights`), and it is deleted. `NCCLTransfer` is vLLM's native weight transfer:
`/start_weight_update`, `/update_weights` beside the trainer's broadcast, `/finish_weight_update`; it takes vLLM in
the trainer's environment too, for its communicator. NCCL waits for ever for a peer that is gone, so the trainer's
half runs in a thread that can be given up.

Written against the source of vLLM 0.33.0; neither has met a real server or a GPU (docs/gpus.md).
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import torch

from legibility.compute_settings import VLLMSettings
from legibility.errors import UserError, as_line
from legibility.models.saving import save_model
from legibility.rollouts.server_requests import Server
from legibility.rollouts.vllm import weights

if TYPE_CHECKING:
    from legibility.models.prover import Prover


class WeightTransfer(Protocol):
    """A way of handing weights over. The server is paused meanwhile; `send` leaves it with `version`."""

    @property
    def backend(self) -> str | None:
        """What the server's --weight-transfer-config has to name; None: nothing."""
        ...

    def send(self, prover: Prover, version: str) -> None:
        """The prover's weights as they are, adapters merged. Raises UserError where the server does not take them."""


class FolderTransfer:
    """A checkpoint in a folder that trainer and server see under one name; it is there for as long as it is read."""

    backend = None

    def __init__(self, server: Server, settings: VLLMSettings) -> None:
        self.server, self.parent = server, settings.folder

    def send(self, prover: Prover, version: str) -> None:
        """Write, have it read, delete (see `WeightTransfer.send`)."""
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{version}-", dir=self.parent))
        except OSError as error:
            raise UserError(f"compute.vllm.folder: {as_line(error)}") from None
        try:
            folder.chmod(0o755)  # the server may be another user's
            _write_checkpoint(prover, folder)
            reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self.server.post("/collective_rpc", reload)
        except OSError as error:
            raise UserError(f"compute.vllm.folder: {as_line(error)}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.server.post("/update_weight_version", {"new_version": version})


def _write_checkpoint(prover: Prover, folder: Path) -> None:
    """The prover as a checkpoint of its architecture: transformers renames what it had renamed while loading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a generation config that nobody reads here
        save_model(prover.causal, folder, dict(weights(prover)))
    for file in folder.iterdir():
        file.chmod(0o644)  # whatever the umask: the server may be another user's


class NCCLTransfer:
    """Broadcasts from the prover's GPU to every worker of the server; the group is made once and kept."""

    backend = "nccl"

    def __init__(self, server: Server, settings: VLLMSettings) -> None:
        self.server, self.settings = server, settings
        self.group: Any = None

    def send(self, prover: Prover, version: str) -> None:
        """Announce the tensors, broadcast them in that order, commit (see `WeightTransfer.send`)."""
        from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer

        if self.group is None:
            self._meet(prover.device)
        kinds = [
            (name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)) for name, tensor in weights(prover)
        ]
        names, dtypes, shapes = (list(column) for column in zip(*kinds, strict=True))
        announced = {"update_info": {"names": names, "dtype_names": dtypes, "shapes": shapes}}
        self.server.post("/start_weight_update")

        def broadcast() -> None:
            packed_nccl_broadcast_producer(
                iterator=weights(prover), group=self.group, src=0, post_iter_func=itemgetter(1)
            )

        self._side_by_side(prover.device, lambda: self.server.post("/update_weights", announced), broadcast)
        self.server.post("/finish_weight_update", {"weight_version": version})

    def _meet(self, device: str) -> None:
        """Make the group: the trainer is its rank 0, the server's workers are the others."""
        from vllm.distributed.weight_transfer.nccl_common import trainer_init

        host = self.settings.nccl_host or _own_address(self.settings.server or "")
        meeting = {
            "master_address": host,
            "master_port": self.settings.nccl_port or _free_port(host),
            "rank_offset": 1,
            "world_size": int(self.server.get("/get_world_size")["world_size"]) + 1,
            "packed": True,
        }

        made: list[Any] = []
        self._side_by_side(
            device,
            lambda: self.server.post("/init_weight_transfer_engine", {"init_info": meeting}),
            lambda: made.append(trainer_init(meeting)),
        )
        (self.group,) = made

    def _side_by_side(self, device: str, ask: Callable[[], object], own: Callable[[], None]) -> None:
        """The server's half and the trainer's half at once, each in a thread that ends with the process.

        Raises UserError where either fails or is not done in time; the group is then of no use any more.
        """
        outcomes: Queue[Exception | None] = Queue()

        def run(half: Callable[[], object]) -> None:
            try:
                if torch.device(device).type == "cuda":
                    torch.cuda.set_device(device)  # a thread begins with the first card
                half()
                outcomes.put(None)
            except Exception as error:
                outcomes.put(error)

        for half in (ask, own):
            threading.Thread(target=run, args=(half,), daemon=True).start()
        end = time.monotonic() + self.settings.timeout
        try:
            for _ in range(2):
                outcome = outcomes.get(timeout=max(0.0, end - time.monotonic()))
                if outcome is not None:
                    raise outcome
        except BaseException as error:
            self.group = None
            if isinstance(error, Empty):
                raise UserError(
                    f"compute.vllm.transfer: NCCL to {self.server.address} was not done within {self.settings.timeout:g} "
                    "seconds (compute.vllm.timeout); look at compute.vllm.nccl_host and a firewall between, or set it to folder"
                ) from None
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"compute.vllm.transfer: NCCL to {self.server.address} failed ({reason}); look at the server's log, or set it "
                "to folder"
            ) from None


def transfer_to(server: Server, settings: VLLMSettings) -> WeightTransfer:
    """The transfer that the settings name."""
    return FolderTransfer(server, settings) if settings.transfer == "folder" else NCCLTransfer(server, settings)


def require_transfer(settings: VLLMSettings, device: str) -> None:
    """Raises UserError where the trainer's side of a transfer cannot work."""
    if settings.transfer == "nccl":
        if find_spec("vllm") is None:
            raise UserError(
                "compute.vllm.transfer: nccl takes vLLM in the trainer's environment too; pip install 'legibility[vllm]', or "
                "set it to folder"
            )
        if torch.device(device).type != "cuda":
            raise UserError(
                f"compute.vllm.transfer: nccl goes from GPU to GPU and the prover is on {device}; set it to folder"
            )
    elif settings.folder is not None and not Path(settings.folder).is_absolute():
        raise UserError(
            f"compute.vllm.folder: {settings.folder} is no absolute path, so the server would look elsewhere; give a whole one"
        )
    elif settings.folder is not None and not Path(settings.folder).is_dir():
        raise UserError(f"compute.vllm.folder: {settings.folder} is no folder; make it, where the server sees it too")


def _own_address(server: str) -> str:
    """The address of this machine on the way to the server. Raises UserError where there is no way."""
    parts = urlsplit(server)
    try:
        family, _, _, _, place = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UserError(f"compute.vllm.nccl_host: {error.strerror or error}; give this machine's address") from None


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
