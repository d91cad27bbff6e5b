"""A real OpenAI-compatible server on loopback for tests: bundled model, faults to order."""

import asyncio
import base64
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

# The same for a server that is sent adapters: the request says which it is to use.
Sample = Callable[[Image.Image, dict[str, Any]], str]
# What a server answers to an image, and with it anything to lay over the message, or `logprobs`.
Respond = Callable[[Image.Image], str | dict[str, Any]]


@dataclass
class ChatServer:
    """A running server. `faults` are answered first, in their order, one a request."""

    respond: Respond
    faults: deque[str] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    usage: dict[str, int] | None = None
    retry_after: str = "0"
    sample: Sample | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    base_url: str = ""
    refusal: str = ""

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as new."""
        for kept in (self.faults, self.requests, self.headers, self.arrivals):
            kept.clear()
        self.usage = {"prompt_tokens": 1000, "completion_tokens": 100}
        self.retry_after = "0"

    def app(self) -> FastAPI:
        app = FastAPI()
        lock = threading.Lock()

        @app.post("/v1/load_lora_adapter")
        async def load(request: Request) -> Response:
            """As vLLM does it."""
            body = await request.json()
            self.adapters[body["lora_name"]] = body["lora_path"]
            return Response(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")

        @app.post("/v1/unload_lora_adapter")
        async def unload(request: Request) -> Response:
            del self.adapters[(await request.json())["lora_name"]]
            return Response("Success")

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            self.arrivals.append(time.monotonic())
            self.requests.append(body)
            self.headers.append(dict(request.headers))
            fault = self.faults.popleft() if self.faults else ""
            if fault == "timeout":
                await asyncio.sleep(2)
            elif fault == "malformed":
                return Response('{"choices": [', media_type="application/json")
            elif fault == "not a completion":
                return JSONResponse({"hello": "world"})
            elif fault == "400 as Gemini":
                error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
                return JSONResponse([{"error": error}], 400)
            elif fault:
                status, _, code = fault.partition(" ")
                if status.isdigit():
                    key = request.headers["authorization"]
                    said = self.refusal or f"as ordered, {key}"
                    error = {"message": said, "code": code or None}
                    headers = {"Retry-After": self.retry_after} if status == "429" else {}
                    return JSONResponse({"error": error}, int(status), headers)
            image = decoded(body)

            def run() -> str | dict[str, Any]:
                with lock:
                    return self.sample(image, body) if self.sample else self.respond(image)

            answer = await asyncio.to_thread(run)
            message = {"content": answer} if isinstance(answer, str) else answer
            message = {"role": "assistant"} | message
            logprobs = message.pop("logprobs", None)
            reason = "stop"
            if fault == "cut off":
                message["content"] = message["content"][:20]
                reason = "length"
            choice = {"index": 0, "message": message, "finish_reason": reason}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": logprobs}
            completion = {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
            }
            if self.usage is not None:
                completion["usage"] = self.usage | {"total_tokens": sum(self.usage.values())}
            return JSONResponse(completion)

        return app


def decoded(body: dict[str, Any]) -> Image.Image:
    """Return the image that a request asks about, its last."""
    return all_decoded(body)[-1]


def all_decoded(body: dict[str, Any]) -> list[Image.Image]:
    """Return the images of a request, in order."""
    urls = [
        part["image_url"]["url"]
        for part in body["messages"][0]["content"]
        if part["type"] == "image_url"
    ]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


@contextmanager
def chat_server(respond: Respond) -> Iterator[ChatServer]:
    """Run a server in a thread, on a free port."""
    chat = ChatServer(respond)
    config = uvicorn.Config(chat.app(), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    chat.base_url = f"http://127.0.0.1:{port}/v1"
    try:
        yield chat
    finally:
        server.should_exit = True
        thread.join(timeout=10)
