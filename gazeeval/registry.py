"""Named things that third parties can add to: mixers, metrics."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from gazeeval.errors import PluginError, UsageError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names for objects that register themselves when their module is imported.

    The modules are those of ``package`` and those that installed distributions name under the entry-point group
    ``package`` (``gazeeval.mixers``, ``gazeeval.metrics``). One that cannot be imported does not break the others: its
    error is kept and raised when its name is asked for.
    """

    def __init__(self, what: str, package: str) -> None:
        self.what = what
        self.package = package
        self._items: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._broken: dict[str, Exception] = {}
        self._discovered = False

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[T], T]:
        """Decorator: make an object known under ``name`` and its ``aliases``."""

        def add(item: T) -> T:
            known = self._items.get(name)
            if known is not None and _origin(known) != _origin(item):
                raise PluginError(
                    f"{self.what} {name!r}: registered twice, by {_origin(known)} and {_origin(item)}. Rename one."
                )
            self._items[name] = item
            self._aliases |= dict.fromkeys(aliases, name)
            return item

        return add

    def __getitem__(self, name: str) -> T:
        self._discover()
        name = self._aliases.get(name, name)
        if name in self._items:
            return self._items[name]
        if name in self._broken:
            error = self._broken[name]
            raise PluginError(f"{self.what} {name!r}: cannot be imported, got {error}.") from error
        known = [*self._items, *self._aliases, *self._broken]
        raise UsageError(
            f"{self.what}: unknown name, got {name!r}{did_you_mean(name, known)}. "
            f"Known: {', '.join(sorted(self._items))}."
        )

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._items))

    def aliases(self, name: str) -> tuple[str, ...]:
        """Other names under which ``name`` is known."""
        return tuple(alias for alias, real in self._aliases.items() if real == name)

    @property
    def broken(self) -> dict[str, Exception]:
        """Names whose module could not be imported, with the reason."""
        self._discover()
        return dict(self._broken)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        folder = importlib.import_module(self.package).__path__
        for module in pkgutil.iter_modules(folder):
            self._attempt(module.name, partial(importlib.import_module, f"{self.package}.{module.name}"))
        for entry in entry_points(group=self.package):
            self._attempt(entry.name, entry.load)

    def _attempt(self, name: str, load: Callable[[], object]) -> None:
        try:
            load()
        except Exception as error:  # a plugin may fail in any way
            self._broken[name] = error


def _origin(item: object) -> str:
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', repr(item))}"
