"""Targets of several nodes."""

import socket

import pytest

from matchengine.client import targets


@pytest.mark.parametrize("target", ["multi:///a:1,b:2", "a:1,b:2", "a:1, b:2,a:1"])
def test_lists_of_addresses(target):
    assert targets.target_addresses(target) == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:1", "ipv4:127.0.0.1:1"),
        ("multi:///127.0.0.1:1,127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2"),
        ("dns:///127.0.0.1:1", "ipv4:127.0.0.1:1"),
        ("passthrough:///127.0.0.1:1", "ipv4:127.0.0.1:1"),
        ("[::1]:1,[::2]:2", "ipv6:[::1]:1,[::2]:2"),
    ],
)
def test_literal_addresses(target, expected):
    assert targets.channel_target(target) == expected


@pytest.fixture
def names(monkeypatch):
    """Two names without asking anybody: both.test has either kind of address, six.test only one."""

    def look_up(host, port, **_kind):
        known = {"both.test": ("::5", "10.0.0.5"), "six.test": ("::6",)}
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        families = ((socket.AF_INET6 if ":" in place else socket.AF_INET, place) for place in known[host])
        return [(family, socket.SOCK_STREAM, 6, "", (place, port)) for family, place in families]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_one_family_must_reach_all(names):
    assert targets.channel_target("both.test:1") == "ipv4:10.0.0.5:1"
    assert targets.channel_target("both.test:1,six.test:2") == "ipv6:[::5]:1,[::6]:2"


@pytest.mark.parametrize(
    "target",
    ["multi:///", "", "both.test", "nobody.test:1", "both.test:0", "both.test:1,multi:///both.test:2", "unix:///run/x"],
)
def test_what_leads_nowhere(names, target):
    with pytest.raises(ValueError, match=r"address|nowhere"):
        targets.channel_target(target)


def test_neither_family_reaches_all():
    with pytest.raises(ValueError, match="neither IPv4 nor IPv6"):
        targets.channel_target("127.0.0.1:1,[::1]:2")


def test_a_service_that_leads():
    ((key, value),) = targets.leader_options("Example")
    assert key == "grpc.service_config"
    assert '"serviceName": "Example"' in value
