"""A Python that has the libraries loaded: jobs of a test's workflow fork it, which takes no time.

``python -m swim`` and ``python -m snakemake`` take 2 to 4 s of a core to import torch, pandas,
matplotlib and Snakemake, and the workflow tests start some 500 of them. A server imports these
once; a program named ``python`` hands its arguments, folder, environment and open files to the
server, which forks. Nothing of SWIM is imported before the fork, since each test has a copy of its
own. ``test_reruns.py`` compares its results with those of ordinary starts.
"""

import array
import atexit
import contextlib
import gc
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from importlib import import_module
from pathlib import Path

MODULES = ("swim", "snakemake")
LOADED = (
    "torch", "torchvision", "torch.utils.data", "torch._functorch.functional_call", "numpy",
    "pandas", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg", "safetensors.numpy", "safetensors.torch", "pydantic",
    "click", "tqdm", "yaml", "llvmlite.binding", "snakemake.cli", "snakemake.api",
    "snakemake.workflow", "snakemake.dag", "snakemake.linting.rules",
    "snakemake_executor_plugin_slurm", "snakemake.executors.local", "jsonschema",
)  # fmt: skip

# Written into the folder of programs: it must start in no time, so it imports no more than this.
CLIENT = """\
#!{python} -IS
import os, sys
if sys.argv[1:2] != ["-m"] or sys.argv[2:3] not in {modules}:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import array, json, signal, socket
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
text = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
files = array.array("i", [0, 1, 2])
server.sendmsg([len(text).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
server.sendall(text)
answer = server.recv(4)
status = os.waitstatus_to_exitcode(int.from_bytes(answer, "big")) if answer else 70
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class WarmPython:
    """The server, started by ``with``; ``folder`` has the program ``python``, for a PATH."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="warm-"))
        address = str(self.folder / "socket")
        self.python = self.folder / "python"
        modules = [[name] for name in MODULES]
        text = CLIENT.format(python=sys.executable, modules=modules, address=address)
        self.python.write_text(text)
        self.python.chmod(0o755)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        self.server = subprocess.Popen(
            [sys.executable, __file__, address], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, env=environment, cwd="/", start_new_session=True,
        )  # fmt: skip
        if self.server.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the server ended with status {self.server.wait()}")
        return self

    def __exit__(self, *error):
        self.server.terminate()
        self.server.wait()
        self.server.stdout.close()
        shutil.rmtree(self.folder)


def receive(connection):
    """What a program was called with, and its standard files."""
    size, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += connection.recv(1 << 20)
    return json.loads(text), list(files)


def serve(address):
    """Fork for each caller; returns in the children alone, with what they are to run."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    ended, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno())
    selector = selectors.DefaultSelector()
    for readable in (listening, ended):
        selector.register(readable, selectors.EVENT_READ)
    callers = {}  # process -> the connection of its caller
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                connection, _ = listening.accept()
                call, files = receive(connection)
                process = os.fork()
                if process == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for number, file in enumerate(files):
                        os.dup2(file, number)
                    for file in files:
                        os.close(file)
                    for one in (selector, listening, ended, waking, connection, *callers.values()):
                        one.close()
                    return call
                for file in files:
                    os.close(file)
                callers[process] = connection
                selector.register(connection, selectors.EVENT_READ, process)
            elif key.fileobj is ended:
                ended.recv(4096)
                reap(callers, selector)
            elif callers.get(key.data) is key.fileobj:  # the caller was killed
                os.kill(key.data, signal.SIGKILL)
                selector.unregister(key.fileobj)


def reap(callers, selector):
    """Tell the callers of processes that have ended how these did."""
    while callers:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        connection = callers.pop(process)
        if connection in selector.get_map():
            selector.unregister(connection)
        with contextlib.suppress(OSError):  # the caller was killed
            connection.sendall(status.to_bytes(4, "big"))
        connection.close()


def become(python, folder, environment):
    """Make this process one that was just started there, as far as Python programs can tell."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.setsid()
    tempfile.tempdir = None
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [folder, *paths]
    # By this the rules find it: they put the folder of their Python first in PATH.
    sys.executable = python


def name_this_process(name):
    """Tests that kill jobs find their processes by it, in /proc."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def end(program):
    """Run it and end as Python does, but without taking all modules apart: that takes 0.5 s."""
    try:
        program()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(bool(error.code))
        if error.code and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def main(address):
    for name in LOADED:
        import_module(name)
    gc.collect()
    gc.freeze()
    (module, *arguments), folder, environment = serve(address)
    become(str(Path(address).with_name("python")), folder, environment)
    name_this_process(arguments[0] if module == "swim" and arguments else module)
    sys.argv = ["-m", *arguments]
    end(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))


if __name__ == "__main__":
    main(sys.argv[1])
