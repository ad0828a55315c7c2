"""The standard services: who is healthy when, and what a node says it serves."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2

from matchengine.service import machine_services
from matchengine.service.health import LeaderHealth
from matchengine.service.reflection import add_reflection

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
APPLICATION = ("quis.RaftLeader", "matchengine.v1.Sessions", "matchengine.v1.Machine")


async def statuses(channel, *names):
    stub = HealthStub(channel)
    return [(await stub.Check(HealthCheckRequest(service=name))).status for name in names]


async def test_the_application_is_healthy_on_the_leader_only(node, serving):
    async with serving(node, machine_services) as channel:
        assert await statuses(channel, "", *APPLICATION) == [SERVING] * 4
        node.lead(False)
        assert await statuses(channel, "", *APPLICATION) == [SERVING] + [NOT_SERVING] * 3
        node.lead(True)
        assert await statuses(channel, "", *APPLICATION) == [SERVING] * 4


async def test_a_follower_starts_unhealthy(node, serving):
    node.is_leader = False
    async with serving(node, machine_services) as channel:
        assert await statuses(channel, "", *APPLICATION) == [SERVING] + [NOT_SERVING] * 3


async def test_a_watcher_sees_every_lasting_change(node, serving):
    async with serving(node, machine_services) as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="quis.RaftLeader"))
        assert (await watch.read()).status == SERVING
        node.lead(False)
        assert (await watch.read()).status == NOT_SERVING
        node.lead(True)
        node.lead(False)
        node.lead(True)
        assert (await watch.read()).status == SERVING
        await asyncio.gather(*(statuses(channel, name) for name in APPLICATION))
        watch.cancel()


async def test_a_watch_whose_bytes_are_no_message_is_refused_without_a_traceback(node, serving, caplog):
    async with serving(node, machine_services) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError, match="the bytes are no message of this method") as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not caplog.records


async def test_a_slow_update_does_not_outlive_a_later_one(node):
    started, released, published = asyncio.Event(), asyncio.Event(), []

    class Slow:
        async def set(self, service, status):
            started.set()
            if status == SERVING:
                await released.wait()
            published.append(status)

    health = LeaderHealth(node, Slow(), ())
    await started.wait()
    node.lead(False)
    updates = list(health._updates)
    await asyncio.sleep(0)  # the second update's chance to overtake
    released.set()
    await asyncio.gather(*updates)
    assert published == [SERVING, NOT_SERVING]


async def test_an_unknown_service_is_not_found(node, serving, failing):
    async with serving(node) as channel:
        call = HealthStub(channel).Check(HealthCheckRequest(service="matchengine.v1.Sessions"))
        await failing(call, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
async def test_reflection_lists_everything(node, serving, version):
    async with serving(node, machine_services) as channel:
        listed = await reflect(channel, reflection_pb2.ServerReflectionRequest(list_services=""), version)
        names = {service.name for service in listed.list_services_response.service}
        assert names == {
            "RaftAdmin",
            "RaftTransport",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "matchengine.v1.Cluster",
            "matchengine.v1.Machine",
            "matchengine.v1.Peer",
            "matchengine.v1.Sessions",
        }
        for name in names:
            request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
            answer = await reflect(channel, request, version)
            assert answer.HasField("file_descriptor_response"), name
            file = FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
            package, _, service = name.rpartition(".")
            assert file.package == package
            assert service in [each.name for each in file.service]


async def reflect(channel, request, version):
    """The messages are the same in both versions."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return await ask(iter([request])).read()


async def test_version_1_of_reflection_describes_itself_alone():
    """Nothing of the version under whose messages it is served is left in it."""
    add_reflection(grpc.aio.server(), ())
    file = FileDescriptorProto()
    descriptor_pool.Default().FindFileByName("grpc/reflection/v1/reflection.proto").CopyToProto(file)
    assert "v1alpha" not in str(file)
