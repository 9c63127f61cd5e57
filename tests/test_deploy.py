"""What a station is set up with says what the program takes: the image, the composition, the unit."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringlight.cli.main import main

PROJECT = Path(__file__).resolve().parents[1]
DOCKERFILE = PROJECT / "Dockerfile"
UNIT = PROJECT / "deploy" / "ringlight-serve@.service"


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return loaded["services"]


def known_options(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    assert main([command, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))


def test_the_linter_has_nothing_to_say_of_the_image() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DOCKERFILE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_image_of_the_composition_is_a_stage_that_runs_without_root(composition: dict[str, Any]) -> None:
    text = DOCKERFILE.read_text()
    parents = {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)}
    stages = {service["build"]["target"] for service in composition.values() if "build" in service}
    assert stages == {"cpu", "cuda"}
    assert all(parents[stage] == "run" for stage in stages)
    run = text.partition("AS run\n")[2].partition("\nFROM ")[0]
    assert "\nUSER 10001:10001\n" in run


def test_what_an_image_is_built_from_reaches_the_builder() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    }
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((PROJECT / name).exists() for name in copied)


def test_the_composition_gives_a_server_no_rights_and_only_known_options(
    composition: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(composition) == {"serve", "serve-cuda", "worker"}
    for service in composition.values():
        command, *words = service["command"]
        assert {word for word in words if word.startswith("--")} <= known_options(command, capsys)
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_unit_starts_a_command_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    start = re.search(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)
    assert start is not None
    program, command, model, _ = shlex.split(start[1])
    assert (Path(program).name, model) == ("ringlight", "%i@active")
    example = re.search(r"e\.g\. RINGLIGHT_SERVE=(.+)$", UNIT.read_text(), re.MULTILINE)
    assert example is not None
    assert {word for word in example[1].split() if word.startswith("--")} <= known_options(command, capsys)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and os.environ.get("CI") != "true", reason="needs systemd-analyze"
)
def test_the_unit_is_sound_and_exposes_little(tmp_path: Path) -> None:
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    unit = tmp_path / "ringlight-serve@parts.service"
    unit.write_text(text)
    check = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert "ringlight-serve" not in done.stderr
    secure = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)]
    done = subprocess.run(secure, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
