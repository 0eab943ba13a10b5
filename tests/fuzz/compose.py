"""Throw damaged Compose files at the loader.

    python -m tests.fuzz.compose [--seconds 60] [--seed N] [--oracle]

Takes the cases of `tests/differential`, damages them, lays them over, under and beside one
another, and loads what comes out from memory. Whatever happens, the loader must answer within two
seconds, with a project or with `ComposeError`. With `--oracle` the real Compose is asked as well
(some fifteen files a second) and must agree, with the exceptions that `docs/compose.md` lists.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reconciler.compose import ComposeError, LoadRequest, MemoryReader, load_project, to_json
from tests.differential.cases import HOME, Case, all_cases
from tests.differential.regenerate import ask
from tests.support.compose_oracle import compose_binary

FOLDER = "/p"
LIMIT = 2.0
_VALUE_LINES = """
~ null '' "" [] {} true false 0 1 -1 1.5 1e3 0x1f 08 2001-12-14 yes "${A}" ${U:-d} ${ $$x [a,b] {a:b} .inf
*a &a|x !!str,5 !override,[a] !reset,null | > "a\\/b" 12:30 99999999999999999999 é - : # \\ a=b ./x:/y 80:80
{a:,b} [[a]] {<<:,*a} service:a container:b ../../x ~/x
"""
_VALUES = _VALUE_LINES.split()
_NOISE = " :-#[]{},&*!|>'\"%@`\t~$\\?.=0aÄ\u00a0\u2028\x00\ufeff"


def damaged(text: str, choose: random.Random) -> str:
    """The text with one to three faults in it."""
    lines = text.split("\n")
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        if not lines:
            break
        index = choose.randrange(len(lines))
        line = lines[index]
        value = choose.choice(_VALUES).replace(",", " ")
        match choose.randrange(8):
            case 0 | 1 | 2:
                key = re.match(r".*?[:-]\s+(?=\S)", line)
                lines[index] = key.group() + value if key else line
            case 3:
                del lines[index]
            case 4:
                lines.insert(index, choose.choice(lines))
            case 5:
                position = choose.randrange(len(line) + 1)
                lines[index] = line[:position] + choose.choice(_NOISE) + line[position:]
            case 6:
                lines[index] = line[choose.choice((1, 2)) :]
            case 7:
                lines[index] = " " + line
    return "\n".join(lines)


def combined(cases: list[Case], choose: random.Random) -> tuple[list[str], dict[str, str]]:
    """Two or three cases as one project: merged, extended, included, in one file."""
    first, second = (choose.choice(cases).files.get("compose.yaml", "") for _ in range(2))
    files = {"compose.yaml": damaged(first, choose), "other.yaml": damaged(second, choose)}
    names = ["compose.yaml"]
    match choose.randrange(5):
        case 0:
            names.append("other.yaml")
        case 1:
            files["compose.yaml"] += "\n---\n" + files["other.yaml"]
        case 2:
            files["compose.yaml"] = "include: [other.yaml]\n" + files["compose.yaml"]
        case 3:
            extends = "    extends: {file: other.yaml, service: a}\n"
            files["compose.yaml"] = files["compose.yaml"].replace("    image: x\n", extends, 1)
    for case in (choose.choice(cases), choose.choice(cases)):
        for name, text in case.files.items():
            files.setdefault(name, text)
    if choose.random() < 0.3:
        files[".env"] = damaged(choose.choice(("A=1\nB='x\ny'\n", 'A="$B"\n#c\nC\n', "export A = b # c\n")), choose)
    return names, files


def load(names: list[str], files: dict[str, str]) -> dict[str, Any]:
    request = LoadRequest(
        files=tuple(f"{FOLDER}/{name}" for name in names), environment={"A": "1", "HOME": HOME}, project_name="case"
    )
    contents = {f"{FOLDER}/{name}": text.encode("utf-8", "surrogateescape") for name, text in files.items()}
    try:
        return {"config": json.loads(to_json(load_project(request, MemoryReader(contents))))}
    except ComposeError as error:
        return {"refused": str(error)}


def run(seconds: float, seed: int, *, oracle: bool) -> int:
    """The number of findings; each is printed with the files that show it."""
    choose = random.Random(seed)
    cases = [case for case in all_cases() if "compose.yaml" in case.files]
    end = time.monotonic() + seconds
    tried = findings = 0
    while time.monotonic() < end:
        names, files = combined(cases, choose)
        tried += 1
        start = time.monotonic()
        finding = ""
        try:
            answer = load(names, files)
            if oracle and (difference := _difference(names, files, answer)):
                finding = difference
        except Exception as error:
            finding = f"{type(error).__name__}: {error}"
        if not oracle and time.monotonic() - start > LIMIT:
            finding = finding or f"took longer than {LIMIT} s"
        if finding:
            findings += 1
            print(f"--- finding {findings} (seed {seed}, file {tried}): {finding}")
            print(json.dumps({"files": names, **files}, indent=1, ensure_ascii=False))
    print(f"{tried} projects, {findings} findings", file=sys.stderr)
    return findings


def _difference(names: list[str], files: dict[str, str], answer: dict[str, Any]) -> str:
    arguments = ["-p", "case", *(word for name in names for word in ("-f", name))]
    case = Case("fuzz", environment={"A": "1"}, arguments=arguments, files=files)
    if any("\x00" in name for name in files):
        return ""
    theirs = ask(str(compose_binary()), case)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        case.lay_out(root)
        try:
            mine = {"config": json.loads(to_json(case.load(root)).replace(str(root), "$DIR"))}
        except ComposeError as error:
            mine = {"refused": str(error)}
    del answer
    if ("config" in mine) != ("config" in theirs):
        return f"ours {json.dumps(mine)[:400]}, Compose {json.dumps(theirs)[:400]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--oracle", action="store_true")
    options = parser.parse_args()
    sys.exit(1 if run(options.seconds, options.seed, oracle=options.oracle) else 0)


if __name__ == "__main__":
    main()
