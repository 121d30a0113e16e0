"""A real SLURM of one node on loopback, started for the tests and stopped after them.

Run as a program it stays up, to try things on: ``python -m tests.workflow.cluster``.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

ETC = Path("/etc/slurm")
MARK = "# Written by SWIM's tests; they remove it again.\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
FOLDERS = ("/var/lib/slurm/ctld", "/var/lib/slurm/d", "/var/log/slurm")

# The gres.conf line makes /dev/null a GPU, so that requests for one are really scheduled.
GPU = "NodeName=localhost Name=gpu File=/dev/null\n"
SETTINGS = """\
ClusterName=swim
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=/var/lib/slurm/ctld
SlurmdSpoolDir=/var/lib/slurm/d
SlurmctldLogFile=/var/log/slurm/ctld.log
SlurmdLogFile=/var/log/slurm/d.log
SlurmctldPidFile=/var/lib/slurm/ctld.pid
SlurmdPidFile=/var/lib/slurm/d.pid
MpiDefault=none
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=3600
KillWait=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=UsePss,OverMemoryKill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1 \
CoresPerSocket={cores} ThreadsPerCore=1 RealMemory={memory} Gres=gpu:1
PartitionName=main Nodes=localhost Default=YES DefMemPerCPU=1000
"""


def why_not():
    """What keeps SLURM from being started here; empty if nothing does."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root may start its daemons"
    file = ETC / "slurm.conf"
    if file.exists() and MARK not in file.read_text():
        return f"this machine is part of a cluster ({file} exists)"
    return ""


def _path():
    return os.environ["PATH"] + ":/usr/sbin:/sbin"


def ask(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


class Cluster:
    """Started by ``with``; on leaving, jobs are cancelled and the daemons ended."""

    def __enter__(self):
        self.daemons = []
        for folder in (*FOLDERS, ETC):
            Path(folder).mkdir(parents=True, exist_ok=True)
        munge = pwd.getpwnam("munge")
        Path("/run/munge").mkdir(exist_ok=True)
        os.chown("/run/munge", munge.pw_uid, munge.pw_gid)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        content = SETTINGS.format(cores=len(os.sched_getaffinity(0)), memory=memory * 4 // 5)
        (ETC / "slurm.conf").write_text(MARK + content)
        (ETC / "gres.conf").write_text(MARK + GPU)
        try:
            self._start("munged", "--foreground", user="munge")
            self._wait(lambda: Path("/run/munge/munge.socket.2").exists(), "munged")
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D", "-N", "localhost")
            self._wait(lambda: "idle" in ask("sinfo", "-h", "-o", "%t"), "SLURM")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, *command, user=None):
        program = shutil.which(command[0], path=_path())
        with open(f"/var/log/slurm/{command[0]}.out", "ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    [program, *command[1:]],
                    stdout=log, stderr=log, user=user, start_new_session=True,
                )
            )  # fmt: skip

    def _wait(self, ready, what, seconds=30):
        end = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except subprocess.CalledProcessError:
                pass
            if time.monotonic() > end:
                logs = "".join(p.read_text()[-2000:] for p in Path("/var/log/slurm").iterdir())
                raise RuntimeError(f"{what} did not start within {seconds} s:\n{logs}")
            time.sleep(0.2)

    def jobs(self):
        """SLURM's own record of every job, ended ones too: a list of mappings."""
        text = ask("scontrol", "show", "job", "--oneliner")
        lines = [line for line in text.splitlines() if line.startswith("JobId=")]
        return [dict(p.split("=", 1) for p in line.split() if "=" in p) for line in lines]

    def __exit__(self, *error):
        subprocess.run(["scancel", "-u", "root"], capture_output=True)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)


if __name__ == "__main__":  # a cluster to try things on, until Ctrl-C
    with Cluster() as cluster:
        print(ask("sinfo"))
        try:
            signal.pause()
        finally:
            print(json.dumps(cluster.jobs(), indent=1))
