"""Only the declared change: what the plan says may differ, and everything else identical by content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
