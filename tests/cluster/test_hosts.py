# SPDX-License-Identifier: GPL-2.0-or-later
"""Three hosts with addresses of their own: network namespaces, joined by a bridge, with one shared folder."""

import contextlib
import os
import secrets
import shutil
import subprocess

import pytest
from cluster.conftest import LIFETIME, LONG, wait_for
from cluster.test_cluster import Bench, expected, sof  # noqa: F401 (fixtures)
from harness import child
from harness.products import products

#: Another one each time: what a run that was killed has left is not in the way.
NETWORK = f"10.213.{secrets.randbelow(256)}"


def _ip(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True, timeout=LONG)


def _problem() -> str | None:
    """Say why there can be no namespaces here, if so."""
    if shutil.which("ip") is None:
        return "found no command ip (Debian: iproute2)"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    name = f"muse-{secrets.token_hex(3)}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("link", "add", f"{name[-6:]}-b", "type", "bridge")
            _ip("link", "del", f"{name[-6:]}-b")
            _ip("link", "add", f"{name[-6:]}-a", "type", "veth", "peer", "name", "eth0", "netns", name)
        finally:
            _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"the kernel of this machine does not let us make network namespaces: {error.stderr.strip()}"
    return None


class Host:
    """A network namespace with an address."""

    def __init__(self, bridge: str, number: int):
        self.address = f"{NETWORK}.{number}"
        self.name, self.link = f"{bridge}-h{number}", f"{bridge}-l{number}"
        self.prefix = ("ip", "netns", "exec", self.name)
        _ip("netns", "add", self.name)
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", self.link, "master", bridge, "up")
        for arguments in (("addr", "add", f"{self.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _ip("-n", self.name, *arguments)
        _ip("-n", self.name, "link", "set", "lo", "up")

    def cut_off(self) -> None:
        """Unplug its cable."""
        _ip("link", "set", self.link, "down")

    def remove(self) -> None:
        """Take it away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


@pytest.fixture
def hosts():
    """Three hosts and, with the address .254, this machine on one wire."""
    problem = _problem()
    if problem is not None:
        pytest.skip(problem)
    bridge = f"m{secrets.token_hex(3)}"
    made = []
    _ip("link", "add", bridge, "type", "bridge")
    try:
        _ip("addr", "add", f"{NETWORK}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made += [Host(bridge, number) for number in (1, 2, 3)]
        yield made
    finally:
        for host in made:
            host.remove()
        _ip("link", "del", bridge)


def test_a_host_that_is_cut_off(hosts, tmp_path, sof, new_cluster, expected):  # noqa: F811
    """In the middle of a run; the others do its work."""
    bench = Bench(tmp_path / "runs", sof)
    first, *others = hosts
    cluster = new_cluster(prefix=first.prefix, host=first.address, lifetime=LIFETIME)
    for host in others:
        cluster.worker(prefix=host.prefix, host=host.address)
    cluster.wait_for_workers(len(others))
    found, output = bench.run(cluster)
    assert found == expected
    assert "2 workers with 2 threads" in output
    cluster.plan("hang-exposure-10")
    process, folder = bench.start(cluster)
    wait_for(cluster.happened, "a worker at work")
    hung = int(cluster.happened()[0].split("-")[-1])
    inside = _ip("netns", "identify", str(hung)).stdout.strip()
    (host,) = [host for host in others if host.name == inside]
    host.cut_off()
    process.join()
    output = (folder / child.OUTPUT).read_text()
    assert process.exitcode == 0, output
    assert f"worker tcp://{host.address}:" in output
    assert "done again by another one" in output
    assert products(folder) == expected
