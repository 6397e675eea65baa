"""Which operators of torch's some code runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Calls(TorchDispatchMode):
    """Records the calls of each operator, and the first argument of each."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, Any]] = []

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.made)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.made.append((func.overloadpacket.__name__, args[0] if args else None))
        return func(*args, **(kwargs or {}))
