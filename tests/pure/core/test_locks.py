"""What a lock's library does to a process that only imports it."""

import subprocess
import sys


def test_no_audit_event_calls_python() -> None:
    """With a hook, each `id()` and so each copy of an object takes a third longer."""
    script = (
        "import sys; hooks = []; sys.addaudithook = hooks.append; "
        "import breezeway.core.locks; print(hooks)"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
