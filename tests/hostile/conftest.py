from __future__ import annotations

import sys
from importlib.metadata import entry_points

import pytest
from command import Command, Outcome


@pytest.fixture
def gazeeval(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The installed command, called in this process."""
    (script,) = entry_points(group="console_scripts", name="gazeeval")
    main = script.load()

    def call(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gazeeval", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return Outcome(stop.value.code, *capsys.readouterr())

    return call
