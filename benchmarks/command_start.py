"""How long `ringlight --help` takes beside the bare interpreter and beside importing torch. Budget: about 0.5 s."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "ringlight --help": ["-m", "ringlight", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    for arguments in COMMANDS.values():
        seconds(arguments)
    rounds = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(RUNS)]
    medians = {name: statistics.median(turn[name] for turn in rounds) for name in COMMANDS}
    for name, value in medians.items():
        print(f"{name:26} {value:6.2f} s (median of {RUNS})")
    ratio = statistics.median(turn["ringlight --help"] / turn["python -c 'import torch'"] for turn in rounds)
    print(f"help : import torch = {ratio:.2f} (budget for the help: about 0.5 s)")


if __name__ == "__main__":
    main()
