"""What is raised here because of what happened in another process."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OtherProcessError"]


class OtherProcessError(RuntimeError):
    """A step ended because other processes of the group raised, or are gone.

    Each of these raised its own exception; the parameters hold the best point seen in all.

    Attributes:
        ranks: of those processes in the group; empty where they are gone and it is not known
            which.
    """

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks

    def __reduce__(self) -> tuple[type[OtherProcessError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.ranks)

    @classmethod
    def of(cls, texts: Mapping[int, str], size: int) -> OtherProcessError:
        """From what the others raised.

        Args:
            texts: rank -> exception in words.
            size: of the group.
        """
        told = "; ".join(f"process {rank} of {size} raised {text}" for rank, text in texts.items())
        return cls(f"{told}\nThe step ended in every process.", tuple(texts))

    @classmethod
    def of_lost(cls, error: Exception) -> OtherProcessError:
        """From what torch says where a process cannot be reached."""
        said = str(error).strip().partition("\n")[0].partition(". ")[0]
        return cls(
            f"a process of the group is gone, or does not answer within the group's timeout. The "
            f"parameters hold the best point that this process knows of; start the processes "
            f"again, as many as there are, from the checkpoint. torch says: {said}"
        )
