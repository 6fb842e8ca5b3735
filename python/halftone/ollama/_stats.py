"""Figures of calls: of each model that answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Figures:
    """Of one model at one level."""

    succeeded: int = 0
    failed: int = 0
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0
    tokens: int = 0
    token_seconds: float = 0.0
    memory: int | None = None

    def add(self, seconds: float, success: bool, tokens: int = 0, token_seconds: float = 0.0, memory: int | None = None) -> None:
        if not success:
            self.failed += 1
            return
        self.least = min(self.least, seconds) if self.succeeded else seconds
        self.most = max(self.most, seconds)
        self.total += seconds
        self.succeeded += 1
        self.tokens += tokens
        self.token_seconds += token_seconds
        self.memory = memory if memory is not None else self.memory

    def merged(self, other: Figures) -> Figures:
        both = [f for f in (self, other) if f.succeeded]
        memories = [f.memory for f in (self, other) if f.memory is not None]
        return Figures(
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.total + other.total,
            min((f.least for f in both), default=0.0),
            max((f.most for f in both), default=0.0),
            self.tokens + other.tokens,
            self.token_seconds + other.token_seconds,
            max(memories) if memories else None,
        )

    def told(self) -> dict[str, Any]:
        """Times in seconds, of calls that succeeded; None where nothing was measured."""
        calls = self.succeeded + self.failed
        any_ = self.succeeded > 0
        return {
            "total_calls": calls,
            "successful_calls": self.succeeded,
            "failed_calls": self.failed,
            "average_time": self.total / self.succeeded if any_ else None,
            "min_time": self.least if any_ else None,
            "max_time": self.most if any_ else None,
            "success_rate": self.succeeded / calls if calls else None,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens / self.token_seconds if self.token_seconds > 0 else None,
            "memory_bytes": self.memory,
        }
