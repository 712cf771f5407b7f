"""`vllm serve` as far as a trainer sees it: the routes, JSON and rules of vLLM 0.33.0, a real small model behind them.

Faults are switched on by name (`server.fault = "hang"`). No GPU and no vLLM; of NCCL there is a queue.
"""

from __future__ import annotations

import importlib.machinery
import json
import queue
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import torch
from transformers import AutoConfig, AutoModelForCausalLM

FIELDS = {
    "model", "prompt", "n", "max_tokens", "seed", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
    "presence_penalty", "frequency_penalty", "min_tokens", "ignore_eos", "stop_token_ids", "logprobs", "return_token_ids",
    "return_weight_versions",
}  # fmt: skip
"""Of a completion request; any other is refused, so that a slip of the pen is noticed."""
DEVELOPMENT = {
    "/pause", "/resume", "/collective_rpc", "/update_weight_version", "/weight_info", "/get_world_size", "/server_info",
    "/reset_prefix_cache", "/init_weight_transfer_engine", "/start_weight_update", "/update_weights",
    "/finish_weight_update",
}  # fmt: skip


class Imitation(ThreadingHTTPServer):
    """A server with a random model of a prover's architecture. `asked`: paths and bodies, in their order."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, config, *, backend: str | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1234)
            self.model = AutoModelForCausalLM.from_config(config).float().eval()
        self.root, self.max_model_len, self.logprobs_mode, self.key = "some/model", 200, "processed_logprobs", None
        self.weight_transfer = {"backend": backend} if backend else None
        self.version, self.paused, self.session, self.cached = "default", False, False, True
        self.fault, self.answers, self.asked, self.hung = None, 0, [], threading.Event()
        self.lock, self.sockets = threading.Lock(), set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that has hung up is no news."""

    def process_request(self, request, client_address) -> None:
        self.sockets.add(request)
        super().process_request(request, client_address)

    def die(self) -> None:
        """End as a killed process does: no more connections, and none of the old ones."""
        self.hung.set()
        threading.Thread(target=self.shutdown, daemon=True).start()
        self.socket.close()
        for connected in list(self.sockets):
            with suppress(OSError):
                connected.shutdown(2)

    def load(self, tensors) -> None:
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, tensor in tensors:
                own[name].copy_(tensor)  # KeyError, or shapes that do not fit: 500, as in vLLM's worker

    @torch.no_grad()
    def complete(self, body: dict) -> dict:
        assert set(body) <= FIELDS and body["n"] == 1 and body["logprobs"] == 0 and body["return_token_ids"]
        assert body["top_p"] == body["repetition_penalty"] == 1 and body["top_k"] == body["min_p"] == 0
        assert len(body["prompt"]) + body["max_tokens"] <= self.max_model_len
        generator, ids, logprobs = torch.Generator().manual_seed(body["seed"]), [], []
        with self.lock:
            version, cache, given = self.version, None, body["prompt"]
            while len(ids) < body["max_tokens"] and (not ids or ids[-1] not in body["stop_token_ids"]):
                out = self.model(input_ids=torch.tensor([given]), past_key_values=cache, use_cache=True)
                scores = torch.log_softmax(out.logits[0, -1] / body["temperature"], -1)
                token = int(torch.multinomial(scores.exp(), 1, generator=generator))
                ids.append(token)
                logprobs.append(float(scores[token]))
                cache, given = out.past_key_values, [token]
        ended = ids[-1] in body["stop_token_ids"]
        choice = {
            "index": 0, "text": "not read", "stop_reason": ids[-1] if ended else None, "token_ids": ids,
            "logprobs": {"tokens": ["?"] * len(ids), "token_logprobs": logprobs, "top_logprobs": [], "text_offset": []},
            "finish_reason": "stop" if ended else "length", "prompt_logprobs": None, "prompt_token_ids": body["prompt"],
            "weight_versions": [{"version": version, "start": 0, "end": len(ids)}],
        }  # fmt: skip
        return {"id": "cmpl-1", "object": "text_completion", "model": body["model"], "choices": [choice], "usage": {}}


class Handler(BaseHTTPRequestHandler):
    server: Imitation

    def log_message(self, *_: object) -> None:
        pass

    def say(self, content, status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, status: int, message: str) -> None:
        self.say({"error": {"message": message, "type": "Error", "param": None, "code": status}}, status)

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(json.loads(text) if text else {})

    def answer(self, body: dict) -> None:
        server, parts = self.server, urlsplit(self.path)
        path, query = parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}
        server.asked.append((path, body))
        if server.fault == "no development routes" and path in DEVELOPMENT:
            return self.refuse(404, "Not Found")
        if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            return self.refuse(401, "Unauthorized")
        if server.fault == "hang at" + path or server.fault == "hang":
            server.hung.wait(30)
            return None
        try:
            self.route(path, query, body)
        except (BrokenPipeError, ConnectionError):
            pass
        except Exception as error:  # what a worker raises becomes this
            self.refuse(500, f"{type(error).__name__}: {error}")

    def route(self, path: str, query: dict, body: dict) -> None:
        server = self.server
        if path == "/v1/models":
            card = {"id": "served", "object": "model", "root": server.root, "max_model_len": server.max_model_len}
            return self.say({"object": "list", "data": [card]})
        if path == "/server_info":
            model = {"model": server.root, "logprobs_mode": server.logprobs_mode}
            assert query == {"config_format": "json"}
            return self.say(
                {
                    "vllm_config": {"model_config": model, "weight_transfer_config": server.weight_transfer},
                    "vllm_env": {},
                }
            )
        if path == "/weight_info":
            return self.say({"weight_version": server.version})
        if path == "/get_world_size":
            return self.say({"world_size": 2})
        if path == "/pause":
            server.paused, server.cached = True, False
            return self.say({"status": "paused"})
        if path == "/resume":
            server.paused = False
            return self.say({"status": "resumed"})
        if path == "/reset_prefix_cache":
            server.cached = False
            return self.say({"success": server.fault != "cache stays"})
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            folder = Path(body["kwargs"]["weights_path"])
            with server.lock:
                assert any(folder.glob("*.safetensors"))
                if server.fault != "weights stay":
                    server.load(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
                server.cached = True
            return self.say({"results": [None]})
        if path == "/update_weight_version":
            if server.fault != "stale":
                server.version = body["new_version"]
            return self.say({"success": True, "new_version": body["new_version"]})
        if path == "/init_weight_transfer_engine":
            assert set(body["init_info"]) == {"master_address", "master_port", "rank_offset", "world_size", "packed"}
            WIRE.join(server.hung)
            return self.say({"message": "Weight transfer initialized"})
        if path == "/start_weight_update":
            server.session = True
            return self.say({"message": "Weight update started"})
        if path == "/update_weights":
            assert server.session
            if server.fault == "worker fails":
                raise RuntimeError("NCCL error: unhandled system error")
            told = body["update_info"]
            with server.lock:
                server.load(WIRE.receive(told["names"], told["dtype_names"], told["shapes"]))
            return self.say({"message": "Weights updated"})
        if path == "/finish_weight_update":
            assert server.session
            server.session, server.cached = False, True
            server.version = body.get("weight_version", server.version)
            return self.say({"message": "Weight update finished"})
        if path == "/v1/completions":
            return self.completion(body)
        return self.refuse(404, "Not Found")

    def completion(self, body: dict) -> None:
        server = self.server
        if server.paused:
            return self.refuse(503, "The engine is paused")
        assert not server.cached, "a prefix cache of other weights"
        with server.lock:
            server.answers += 1
            count = server.answers
        if server.fault == "error":
            return self.refuse(500, "EngineCore encountered an issue.\nSee stack trace")
        if server.fault == "dies" and count > 4:
            return server.die()
        if server.fault == "restarts" and count > 4:
            server.version = "default"
        answer = server.complete(body)
        (choice,) = answer["choices"]
        if server.fault == "wrong log-probs":
            choice["logprobs"]["token_logprobs"] = [x - 0.3 for x in choice["logprobs"]["token_logprobs"]]
        if server.fault == "aborts" and count > 4:
            choice["finish_reason"], choice["token_ids"] = "abort", choice["token_ids"][:1]
            choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][:1]
        if server.fault == "older":
            del choice["weight_versions"]
        if server.fault == "without ids":
            choice["token_ids"] = None
        if server.fault == "another game" and count == 5:
            server.version = "other-1"
            del choice["weight_versions"]
        return self.say(answer)


class Wire:
    """NCCL between the trainer and one server: both join, then tensors pass in the order announced."""

    def __init__(self) -> None:
        self.ready, self.met, self.tensors = threading.Event(), threading.Event(), queue.Queue()

    def join(self, given_up: threading.Event) -> None:
        self.ready.set()
        while not self.met.wait(0.02):  # for ever, as NCCL does
            if given_up.is_set():
                raise RuntimeError("gone")

    def receive(self, names, dtypes, shapes):
        for name, dtype, shape in zip(names, dtypes, shapes, strict=True):
            tensor = self.tensors.get(timeout=10)
            assert str(tensor.dtype) == f"torch.{dtype}" and list(tensor.shape) == shape
            yield name, tensor


WIRE = Wire()


def install_vllm(monkeypatch, *, joins: bool = True) -> None:
    """As much of vLLM as the trainer's side of NCCL imports. joins: whether the trainer finds the server's workers."""
    monkeypatch.setattr(sys.modules[__name__], "WIRE", wire := Wire())

    def trainer_init(init_info, rank=0):
        assert init_info["rank_offset"] == 1 and init_info["world_size"] == 3 and rank == 0
        if not joins:
            time.sleep(30)
        assert wire.ready.wait(10)
        wire.met.set()
        return wire

    def packed_nccl_broadcast_producer(iterator, group, src, post_iter_func) -> None:
        for item in iterator:
            group.tensors.put(post_iter_func(item).clone())

    for name, content in {
        "vllm": {},
        "vllm.distributed": {},
        "vllm.distributed.weight_transfer": {},
        "vllm.distributed.weight_transfer.nccl_common": {"trainer_init": trainer_init},
        "vllm.distributed.weight_transfer.packed_tensor": {
            "packed_nccl_broadcast_producer": packed_nccl_broadcast_producer
        },
    }.items():
        module = ModuleType(name)
        module.__dict__.update(content, __spec__=importlib.machinery.ModuleSpec(name, None))
        monkeypatch.setitem(sys.modules, name, module)


@contextmanager
def serving(config_or_folder, **settings):
    """An imitation that answers on a port of its own, until the block ends."""
    config = config_or_folder
    if isinstance(config, (str, Path)):
        config = AutoConfig.from_pretrained(config)
    server = Imitation(config, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hung.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
