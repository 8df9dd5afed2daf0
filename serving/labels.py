"""The labels of one model, and the versions that they are on."""

from collections.abc import Container, Mapping

from serving.errors import unknown_label


class Labels:
    """Names for versions. One moves when its new version is available; until then the one that it was on answers.

    For one thread at a time: its owner has the lock.
    """

    def __init__(self) -> None:
        self._wanted: Mapping[str, int] = {}
        self._on: dict[str, int] = {}

    def want(self, wanted: Mapping[str, int], available: Container[int]) -> None:
        """Take where the labels shall be from now on."""
        self._wanted = wanted
        self.move(available)

    def move(self, available: Container[int]) -> None:
        """Put labels where they shall be, as far as versions are available."""
        used = {label: number for label, number in self._on.items() if number in available}
        self._on = {
            label: number if number in available else used.get(label, number) for label, number in self._wanted.items()
        }

    def version(self, label: str) -> int:
        """Give the version that a label is on, available or not. Raises INVALID_ARGUMENT for an unknown label."""
        if label not in self._on:
            raise unknown_label(label)
        return self._on[label]

    @property
    def waiting(self) -> dict[str, tuple[int, int]]:
        """The labels that are on another version than they shall be: that one, and the one that is not available."""
        return {
            label: (number, wanted) for label, number in self._on.items() if number != (wanted := self._wanted[label])
        }
