"""The wires of three models' services, as far as the agents need them: what was asked, and answers as SSE."""

import itertools
import json
from dataclasses import dataclass, field

USED = (111, 22)
"""Tokens in and out of every answer."""
numbers = itertools.count(1)
KINDS = {401: ("authentication_error", "UNAUTHENTICATED"), 429: ("rate_limit_error", "RESOURCE_EXHAUSTED")}


@dataclass
class Asked:
    """A request: messages of a person, results of tools since the last one, its text, and the tools there are."""

    users: int = 0
    results: int = 0
    prompt: str = ""
    tools: set = field(default_factory=set)

    def note(self, text, results):
        if results:
            self.results += results
        else:
            self.users, self.results, self.prompt = self.users + 1, 0, text


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or [] if "text" in part)


def sse(value, event=None):
    return (f"event: {event}\n" if event else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


class Anthropic:
    """Messages."""

    @staticmethod
    def serves(path):
        return path.endswith("/messages")

    @staticmethod
    def read(body):
        asked = Asked(tools={tool.get("name") for tool in body.get("tools") or []})
        for message in body.get("messages") or []:
            content = message.get("content")
            if message.get("role") == "user":
                blocks = content if isinstance(content, list) else []
                asked.note(text_of(content), sum(block.get("type") == "tool_result" for block in blocks))
        return asked

    @classmethod
    def limited(cls, seconds):
        return cls.refusal(429)

    @staticmethod
    def refusal(code):
        return {"type": "error", "error": {"type": KINDS[code][0], "message": f"stub error {code}"}}

    @staticmethod
    def whole(items, body):
        blocks = [
            {"type": "text", "text": item[1]} if item[0] == "text" else
            {"type": "tool_use", "id": f"toolu_{next(numbers)}", "name": item[1], "input": item[2]}
            for item in items
        ]  # fmt: skip
        stop = "tool_use" if any(item[0] == "tool" for item in items) else "end_turn"
        return {"id": "msg_stub", "type": "message", "role": "assistant", "model": body.get("model"), "content": blocks,
                "stop_sequence": None, "stop_reason": stop,
                "usage": {"input_tokens": USED[0], "output_tokens": USED[1]}}  # fmt: skip

    @classmethod
    def stream(cls, items, *, fail, stall):
        whole = cls.whole(items, {"model": "stub-model"})
        start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": USED[0], "output_tokens": 1}}
        yield cls._event({"type": "message_start", "message": start})
        for index, block in enumerate(whole["content"]):
            empty = {"text": ""} if block["type"] == "text" else {"input": {}}
            yield cls._event({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
            delta = (
                {"type": "text_delta", "text": block["text"]} if block["type"] == "text" else
                {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            )  # fmt: skip
            yield cls._event({"type": "content_block_delta", "index": index, "delta": delta})
            if fail:
                yield cls._event({"type": "error", "error": {"type": "overloaded_error", "message": "stub failure"}})
                return
            if stall:
                return
            yield cls._event({"type": "content_block_stop", "index": index})
        end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield cls._event({"type": "message_delta", "delta": end, "usage": {"output_tokens": USED[1]}})
        yield cls._event({"type": "message_stop"})

    @staticmethod
    def _event(value):
        return sse(value, value["type"])


class Gemini:
    """generateContent."""

    @staticmethod
    def serves(path):
        return "enerateContent" in path

    @staticmethod
    def read(body):
        declared = [tool for group in body.get("tools") or [] for tool in group.get("functionDeclarations") or []]
        asked = Asked(tools={tool.get("name") for tool in declared})
        for message in body.get("contents") or []:
            if message.get("role") == "user":
                parts = message.get("parts") or []
                asked.note(text_of(parts), sum("functionResponse" in part for part in parts))
        return asked

    @staticmethod
    def limited(seconds):
        message = f"You exceeded your current quota. Please retry in {seconds}.0s."
        return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}

    @staticmethod
    def refusal(code):
        return {"error": {"code": code, "message": f"stub error {code}", "status": KINDS[code][1]}}

    @staticmethod
    def _part(item):
        if item[0] == "text":
            return {"text": item[1]}
        return {"functionCall": {"id": f"call_{next(numbers)}", "name": item[1], "args": item[2]}}

    @staticmethod
    def _body(parts, finish=None):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        used = {"promptTokenCount": USED[0], "candidatesTokenCount": USED[1], "totalTokenCount": sum(USED)}
        return {"candidates": [candidate], "modelVersion": "stub", "responseId": "stub", "usageMetadata": used}

    @classmethod
    def whole(cls, items, body):
        if "responseJsonSchema" in (body.get("generationConfig") or {}):  # a side question: how hard is the task?
            items = [("text", json.dumps({"complexity_reasoning": "stub", "complexity_score": 1}))]
        return cls._body([cls._part(item) for item in items], "STOP")

    @classmethod
    def stream(cls, items, *, fail, stall):
        for item in items:
            yield sse(cls._body([cls._part(item)]))
            if fail:
                yield sse({"error": {"code": 503, "message": "stub failure", "status": "UNAVAILABLE"}})
                return
            if stall:
                return
        yield sse(cls._body([{"text": ""}], "STOP"))


class OpenAI:
    """Responses."""

    @staticmethod
    def serves(path):
        return path.endswith("/responses")

    @staticmethod
    def read(body):
        asked = Asked(tools={tool.get("name") or tool.get("type") for tool in body.get("tools") or []})
        for item in body.get("input") or []:
            if str(item.get("type")).endswith("_call_output"):
                asked.note("", 1)
            elif item.get("role") == "user":
                asked.note(text_of(item.get("content")), 0)
        return asked

    @classmethod
    def limited(cls, seconds):
        """The event that refuses in a stream: codex repeats its words, and does not tell of the header."""
        message = f"Rate limit reached. Please try again in {seconds}.0s."
        response = {"id": "resp_stub", "object": "response", "created_at": 0, "status": "failed", "output": [],
                    "error": {"code": "rate_limit_exceeded", "message": message}}  # fmt: skip
        return cls._event({"type": "response.failed", "response": response})

    @staticmethod
    def refusal(code):
        return {"error": {"message": f"stub error {code}", "type": KINDS[code][0], "code": KINDS[code][0]}}

    @staticmethod
    def whole(items, body):
        raise NotImplementedError("codex always streams")

    @classmethod
    def stream(cls, items, *, fail, stall):
        response = {"id": "resp_stub", "object": "response", "created_at": 0, "model": "stub-model", "output": []}
        yield cls._event({"type": "response.created", "response": {**response, "status": "in_progress"}})
        for index, item in enumerate(items):
            yield from cls._item(index, item)
            if fail:
                error = {"code": "server_error", "message": "stub failure"}
                yield cls._event(
                    {"type": "response.failed", "response": {**response, "status": "failed", "error": error}}
                )
                return
            if stall:
                return
        used = {"input_tokens": USED[0], "input_tokens_details": {"cached_tokens": 0}, "output_tokens": USED[1],
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": sum(USED)}  # fmt: skip
        yield cls._event({"type": "response.completed", "response": {**response, "status": "completed", "usage": used}})

    @classmethod
    def _item(cls, index, item):
        where, number = {"output_index": index}, next(numbers)
        if item[0] == "tool":
            call = {"id": f"fc_{number}", "type": "function_call", "status": "completed", "name": item[1],
                    "call_id": f"call_{number}", "arguments": json.dumps(item[2])}  # fmt: skip
            yield cls._event({"type": "response.output_item.added", **where, "item": {**call, "arguments": ""}})
            yield cls._event({"type": "response.output_item.done", **where, "item": call})
            return
        part = {"type": "output_text", "text": item[1], "annotations": []}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant"}
        begun = {**message, "status": "in_progress", "content": []}
        yield cls._event({"type": "response.output_item.added", **where, "item": begun})
        delta = {"item_id": message["id"], "content_index": 0, "delta": item[1]}
        yield cls._event({"type": "response.output_text.delta", **where, **delta})
        done = {**message, "status": "completed", "content": [part]}
        yield cls._event({"type": "response.output_item.done", **where, "item": done})

    @staticmethod
    def _event(value):
        return sse(value, value["type"])


WIRES = (Anthropic, Gemini, OpenAI)
