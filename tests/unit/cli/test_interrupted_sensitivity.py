"""``swim sensitivity`` after SIGKILL goes on to the bytes of an undisturbed run."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from swim.cli import main
from swim.runtime.files import load_arrays
from swim.settings import estimator_traits, registry
from tests.unit.conftest import run

# Each estimator in a child of its own, which is killed in the middle of its pass: three batches are
# in the state, the fourth is computed but not saved.
KILLED = """
import json, os, signal, sys
from swim.cli import main, sensitivity
from swim.runtime.unfinished import Unfinished

def write(self, state, save=Unfinished.write, count=[0]):
    count[0] += 1
    if count[0] > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, state)

sensitivity.SECONDS = 0
Unfinished.write = write
for arguments in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        main(arguments)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (arguments, status)
"""
CASES = {name: ("--estimator", name) for name in registry.ESTIMATORS}
CASES |= {
    f"{name}, noise": (*CASES[name], "--curvature-noise", "0.1", "--estimator-samples", "2")
    for name in sorted(estimator_traits.DRAWING)
}


def command(folder, out, options):
    words = ["sensitivity", "--model", folder / "model", "--data", folder / "data", "--out", out,
             "--batch-size", 40, "--sensitivity-images", 230, "--seed", 5, *options]  # fmt: skip
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def killed(folder):
    """A folder with what is left of each case's killed process."""
    left = folder / "killed"
    left.mkdir()
    commands = [command(folder, left / f"{n}.safetensors", o) for n, o in enumerate(CASES.values())]
    done = subprocess.run([sys.executable, "-c", KILLED, json.dumps(commands)], capture_output=True)
    assert not done.returncode, done.stderr.decode()
    return left


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_killed_pass_goes_on_to_the_same_bytes(folder, killed, case):
    out = killed / f"{list(CASES).index(case)}.safetensors"
    assert not out.exists()
    assert (killed / f".{out.stem}.unfinished.pt").exists()
    run(*command(folder, folder / "whole.safetensors", CASES[case]))
    printed = run(*command(folder, out, CASES[case]))
    assert "going on after 120 images of an earlier run" in printed
    assert re.search(r": 230 of 4,000 images, 120 of them in an earlier run, [0-9.]+ s", printed)
    assert out.read_bytes() == (folder / "whole.safetensors").read_bytes()
    assert not (killed / f".{out.stem}.unfinished.pt").exists()
    assert load_arrays(out)[1]["images"] == 230


@pytest.mark.long
def test_a_pass_killed_at_any_moment_goes_on_to_the_same_bytes(folder):
    """From outside, at a moment that nobody chose."""
    options = CASES["gauss_newton_probe"]
    run(*command(folder, folder / "whole.safetensors", options))
    out, state = folder / "any.safetensors", folder / ".any.unfinished.pt"
    code = (
        "import sys; from swim.cli import main, sensitivity; sensitivity.SECONDS = 0; "
        "main(sys.argv[1:])"
    )
    for delay in (0.0, 0.03):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *command(folder, out, options)], stderr=subprocess.DEVNULL
        )
        before = state.stat().st_mtime_ns if state.exists() else None
        while process.poll() is None:
            if state.exists() and state.stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(delay)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run(*command(folder, out, options))
    assert out.read_bytes() == (folder / "whole.safetensors").read_bytes()
    assert [p.name for p in folder.iterdir() if p.name.startswith(".any")] == []


@pytest.mark.long
def test_a_state_of_other_settings_or_half_a_file_starts_over(folder, caplog):
    out, state = folder / "other.safetensors", folder / ".other.unfinished.pt"
    options = CASES["gauss_newton_probe"]
    commands = [command(folder, out, options)]
    subprocess.run([sys.executable, "-c", KILLED, json.dumps(commands)], check=True)
    left = state.read_bytes()
    run(*command(folder, folder / "whole.safetensors", options))
    others = {
        "settings, inputs, code or the machine have changed": (left, (*options, "--seed", 6)),
        "it is damaged": (left[: len(left) // 2], options),
    }
    for reason, (content, chosen) in others.items():
        state.write_bytes(content)
        caplog.clear()
        printed = run(*command(folder, out, chosen))
        assert "going on" not in printed
        assert [line for line in caplog.messages if reason in line]
        assert not state.exists()
        same = out.read_bytes() == (folder / "whole.safetensors").read_bytes()
        assert same == (chosen == options)


@pytest.mark.long
def test_more_images_than_there_are_is_an_error_that_names_the_setting(folder, capsys):
    arguments = command(folder, folder / "never", ("--sensitivity-images", 4001))
    with pytest.raises(SystemExit):
        main(arguments)
    error = capsys.readouterr().err
    assert "sensitivity_images: 4,001 images are asked for, but there are only 4,000" in error
    assert not (folder / "never").exists()
