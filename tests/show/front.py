"""A front end in small: it runs a cell in a real kernel, sees what is shown, and presses buttons
while the cell is at work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel


class Front:
    """What a front end sees of one cell, and what it sends while the cell is at work."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.models: dict[str, dict[str, Any]] = {}
        self.printed, self.shown, self.updates = "", list[dict[str, Any]](), list[dict[str, Any]]()
        self._done = False
        self._subshell = ""

    @classmethod
    @contextmanager
    def started(cls, **environment: str) -> Iterator[Front]:
        """With a kernel of its own, which has these variables beside ours."""
        manager, client = start_new_kernel(env={**os.environ, **environment})
        try:
            yield cls(client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    def until(self, what: str) -> None:
        """Read what the kernel says until it has printed this, or (empty) the cell has ended."""
        deadline = time.monotonic() + 60
        while (what not in self.printed) if what else not self._done:
            assert time.monotonic() < deadline and not self._done, (what, self.printed)
            self._hear(self.client.get_iopub_msg(timeout=60))

    def press(self, button: str) -> None:
        """Press a button by its label, as JupyterLab does: through a subshell, for the kernel's
        own shell is busy.
        """
        if not self._subshell:
            self.client.control_channel.send(self.client.session.msg("create_subshell_request"))
            self._subshell = self.client.get_control_msg(timeout=60)["content"]["subshell_id"]
        id = self._button(button)
        message = self.client.session.msg(
            "comm_msg", {"comm_id": id, "data": {"method": "custom", "content": {"event": "click"}}}
        )
        message["header"]["subshell_id"] = self._subshell
        self.client.shell_channel.send(message)

    def _button(self, label: str) -> str:
        """The button's model, once the kernel has said that there is one."""
        deadline = time.monotonic() + 60
        while True:
            found = [id for id, one in self.models.items() if one.get("description") == label]
            if found:
                return found[0]
            assert time.monotonic() < deadline, (label, self.printed)
            self._hear(self.client.get_iopub_msg(timeout=60))

    def offered(self) -> list[str]:
        """The labels of the buttons that are shown."""
        rows = [
            state["children"]
            for state in self.models.values()
            if state.get("_model_name") == "HBoxModel"
        ]
        return [self.models[child.removeprefix("IPY_MODEL_")]["description"] for child in rows[0]]

    def until_offered(self, *labels: str) -> None:
        """Read what the kernel says until these buttons are shown, and no others."""
        deadline = time.monotonic() + 60
        while self.offered() != list(labels):
            assert time.monotonic() < deadline, (labels, self.offered())
            self._hear(self.client.get_iopub_msg(timeout=60))

    def _hear(self, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "comm_open":
            self.models[content["comm_id"]] = content["data"]["state"]
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.models[content["comm_id"]] |= content["data"]["state"]
        elif kind == "stream":
            self.printed += content["text"]
        elif kind in ("display_data", "update_display_data"):
            (self.shown if kind == "display_data" else self.updates).append(content["data"])
        elif kind == "error":
            self.printed += content["evalue"]
        self._done |= (
            kind == "status"
            and content["execution_state"] == "idle"
            and message["parent_header"]["msg_type"] == "execute_request"
        )
