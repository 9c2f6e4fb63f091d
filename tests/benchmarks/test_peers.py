"""The peers make the same update as our loop, from the same weights and draws."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.peers import client, common
from benchmarks.peers.client import PEERS, Peer, PeerError, unavailable
from benchmarks.peers.common import ALGORITHMS, Work
from benchmarks.peers.ours import comparable, difference

NEAR = 1e-4

SMALL = {"batch_size": 16, "width": 24}
SMALL_DCGAN = {
    "model": "dcgan",
    "size": 32,
    "channels": 1,
    "width": 4,
    "latent_dim": 5,
    "penalty": 0.0,
    "batch_size": 4,
}


@pytest.fixture(scope="module")
def start():
    """Starts a peer once; skips where its framework is not installed."""
    started = {}

    def peer(name):
        if reason := unavailable(name):
            pytest.skip(reason)
        if name not in started:
            started[name] = Peer(name)
        return started[name]

    yield peer
    for one in started.values():
        one.__exit__()


@pytest.mark.parametrize("name", ["pytorch", "jax"])
def test_a_peers_update_is_ours(start, name):
    assert max(difference(start(name), Work(**SMALL)).values()) < NEAR


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", [n for n in PEERS if n != "pytorch_cuda_graphs"])
def test_a_peers_update_by_every_algorithm_is_ours(start, name, algorithm):
    work, tolerance = comparable(name, Work(algorithm=algorithm, **SMALL))
    assert max(difference(start(name), work).values()) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch", "jax"])
def test_peers_carry_their_moments_from_step_to_step(start, name):
    far = difference(start(name), Work(**SMALL), steps=3)
    assert max(far.values()) < 10 * NEAR


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", [n for n in PEERS if n != "pytorch_cuda_graphs"])
def test_a_peers_update_in_bfloat16_is_ours_but_for_rounding(start, name, algorithm):
    work = Work(algorithm=algorithm, precision="bfloat16", **SMALL)
    work, tolerance = comparable(name, work)
    assert max(difference(start(name), work).values()) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", ["pytorch", "jax", "keras"])
def test_a_peers_dcgan_is_ours(start, name, size):
    work = Work(**{**SMALL_DCGAN, "size": size})
    assert max(difference(start(name), work).values()) < 10 * NEAR


@pytest.mark.parametrize("player", common.PLAYERS)
@pytest.mark.parametrize("size", [32, 64])
def test_first_weights_have_the_shapes_of_our_dcgan(player, size):
    from tf_mixed_nash.models import dcgan_discriminator, dcgan_generator

    if player == "theta":
        network = dcgan_generator(size, channels=3, latent_dim=5, width=2)
    else:
        network = dcgan_discriminator(size, channels=3, width=2)
    work = Work(model="dcgan", size=size, channels=3, width=2, latent_dim=5)
    assert [w.shape for w in work.weights(player)] == [*map(tuple, network.shapes)]


def test_cuda_graphs_need_a_gpu(monkeypatch):
    monkeypatch.setattr(client, "_ENVIRONMENT", client.Path("/nowhere"))
    codes = iter([0, 1])
    run = lambda *args, **kwargs: SimpleNamespace(returncode=next(codes))  # noqa: E731
    monkeypatch.setattr(client.subprocess, "run", run)
    assert unavailable("pytorch_cuda_graphs") == "PyTorch has no GPU here"


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"penalty": 0.2}, {"damping": 0.8}, {"temperature": 2e-6}, {"rms_decay": 0.9}],
    ids=lambda change: next(iter(change)),
)
def test_the_comparison_notices_another_hyperparameter(start, change, monkeypatch):
    """The peer is told of another value than our loop."""
    peer = start("jax")
    honest = peer.build
    monkeypatch.setattr(peer, "build", lambda work: honest(Work(**{**vars(work), **change})))
    assert max(difference(peer, Work(**SMALL)).values()) > 100 * NEAR


def test_a_peer_trains_and_says_how_long_it_took(start):
    peer = start("jax")
    trainer = peer.build(Work(**SMALL))
    assert peer.seconds(trainer, 3) > 0


def test_a_peers_failure_is_an_error_and_not_its_end(start):
    peer = start("jax")
    with pytest.raises(PeerError, match="KeyError: 48"):
        peer.build(Work(**{**SMALL_DCGAN, "size": 48}))
    with pytest.raises(PeerError, match=r"unknown command 'sing'"):
        peer.ask(do="sing")
    assert "ways" in peer.ask(do="noise", num=10, rounds=1)


def test_a_peer_that_ended_says_so():
    with Peer("jax") as peer:
        peer._process.kill()
        peer._process.wait()
        with pytest.raises(PeerError, match="jax ended with code -9"):
            peer.ask(do="noise", num=10, rounds=1)


def test_importing_the_protocol_imports_no_framework():
    code = (
        "import sys, benchmarks.peers.common; "
        "sys.exit(bool({'torch', 'jax', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_start_of_a_peer_is_he_normal():
    leaves = common.he_normal([2, 400, 1], seed=0)
    assert [leaf.shape for leaf in leaves] == [(2, 400), (400,), (400, 1), (1,)]
    assert np.var(leaves[0]) == pytest.approx(1.0, abs=5 * np.sqrt(2 / 800))
