"""Trackers: what is not installed is said before anything loads; wandb and trackio really log, and really stay here."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from drawn_products import draw_bottle, write_set

from finetune.core.environment import version_of
from finetune.core.errors import ConfigError
from finetune.train import check_request
from finetune.training import trackers

pytestmark = pytest.mark.tiny
PLAIN = {
    "data": {"size": 64, "variants": 6},
    "adapter": {"rank": 4},
    "train": {"steps": 2, "batch": 2, "min_8bit_size": 64, "trackers": ["tensorboard"]},
    "objective": {"ring_px": 8},
    "memory": {"check": False},
    "validation": {"every": 1, "choose": "loss"},
    "preview": {"every": 2, "steps": 2},
}


def test_what_is_not_installed_is_said_with_its_cure() -> None:
    trackers.check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match="no-such-tracker is not installed") as caught:
        trackers.check_trackers(["tensorboard", "no-such-tracker"])
    assert "pip install no-such-tracker" in caught.value.hint


def test_the_request_is_checked_before_anything_loads(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.settings import TrainConfig

    monkeypatch.setattr(trackers, "version_of", lambda name: "")
    config = TrainConfig.model_validate(PLAIN | {"base": {"model": str(tiny_base)}, "train": {"trackers": ["wandb"]}})
    with pytest.raises(ConfigError, match="wandb is not installed"):
        check_request(config)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_gets_curve_and_pictures_and_nothing_leaves(tmp_path: Path, tiny_base: Path, name: str) -> None:
    """By the real command, offline, with a proxy that would notice any call."""
    if not version_of(name):
        pytest.skip(f"the extra `trackers` is not installed: {name}")
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    config = PLAIN | {"base": {"model": str(tiny_base)}, "train": PLAIN["train"] | {"trackers": [name]}}  # type: ignore[operator]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy)
        away = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "TRACKIO_DIR": str(tmp_path / "trackio")}
        line = [sys.executable, "-P", "-m", "finetune.core.commands", "train", "bottle01", "--json"]
        line += ["--config", str(tmp_path / "run.yaml"), "--workspace", str(tmp_path)]
        done = subprocess.run(line, capture_output=True, text=True, env=os.environ | away | proxies, check=False)
        listening.setblocking(False)
        called = ""
        with suppress(BlockingIOError):
            called = listening.accept()[0].recv(200).decode(errors="replace")
        assert called == "", "nothing may be asked of the network"
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] is True, "stdout is data alone"
    (run,) = (tmp_path / "runs" / "bottle01").iterdir()
    if name == "wandb":
        (log,) = run.glob("wandb/offline-run-*/*.wandb")
        text = log.read_bytes()
        assert text.count(b"validation_loss") >= 2
        assert b"train.learning_rate" in text
        pictures = list(run.glob("wandb/offline-run-*/files/media/images/preview/*.png"))
    elif name == "tensorboard":
        (log,) = (run / "logs").rglob("events.out.tfevents.*")
        text = log.read_bytes()
        assert text.count(b"validation_loss") >= 2
        pictures = re.findall(rb"preview/0-(?:insert|place)", text)
    else:
        (base,) = [path for path in (tmp_path / "trackio").glob("*.db") if path.stem == trackers.PROJECT]
        assert b"validation_loss" in base.read_bytes() + b"".join(p.read_bytes() for p in base.parent.glob("*.db-wal"))
        pictures = list((tmp_path / "trackio" / "media").rglob("*.png"))
    assert len(pictures) == 2
