"""Write the golden answers in `compose_cases/` anew, from the real Docker Compose.

    python -m tests.differential.regenerate [--newer COMMAND] [NAME…]

Asks Docker Compose 2.40.3 (the binary in the virtual environment). `--newer` names a program that
answers as a newer Compose does, called with the same arguments; without it, what the golden file
says of the newer version is kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.differential.cases import GOLDEN, Case, all_cases, golden
from tests.support.compose_oracle import compose_binary


def _limited() -> None:
    """A file that makes Compose hang must not take the machine with it."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


def ask(binary: str, case: Case) -> dict[str, Any]:
    """What the program answers for the case."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        run_in = case.lay_out(root)
        try:
            done = subprocess.run(
                [binary, *case.arguments, "config", "--format", "json"],
                cwd=run_in,
                env=case.variables(run_in),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
                preexec_fn=_limited,
            )
        except subprocess.TimeoutExpired:
            return {"refused": "hangs"}
        try:
            if done.returncode == 0:
                return {"config": json.loads(done.stdout.replace(str(root), "$DIR"))}
        except json.JSONDecodeError:
            return {"refused": "prints something that is not JSON"}
        lines = [line for line in done.stderr.replace(str(root), "$DIR").splitlines() if line.strip()]
        crashed = any(line.startswith(("panic:", "goroutine ")) for line in lines)
        return {"refused": "crashes" if crashed else (lines[-1] if lines else f"exit status {done.returncode}")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--newer")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    known = golden() if GOLDEN.exists() else {}
    answers: dict[str, Any] = {}
    binary = str(compose_binary())
    for case in all_cases():
        if options.names and case.name not in options.names:
            answers[case.name] = known[case.name]
            continue
        answer = ask(binary, case)
        newer = ask(options.newer, case) if options.newer else known.get(case.name, {}).get("newer", answer)
        same = newer == answer or ("refused" in newer and "refused" in answer)
        answers[case.name] = answer if same else {**answer, "newer": newer}
    text = json.dumps(answers, indent=1, ensure_ascii=False, sort_keys=True)
    GOLDEN.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
