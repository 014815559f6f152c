"""aio-pika: the asyncio client."""

import asyncio
import os

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError

from scenarios import run_all, scenario

URL = os.environ["AMQP_URL"]


def asynchronous(function):
    def run():
        asyncio.run(asyncio.wait_for(function(), 30))

    run.__name__ = function.__name__
    return scenario(run)


@asynchronous
async def publishes_with_confirms_and_consumes():
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)
        exchange = await channel.declare_exchange("aio.direct", aio_pika.ExchangeType.DIRECT)
        queue = await channel.declare_queue("aio.queue", durable=True)
        await queue.bind(exchange, "k")
        for number in range(30):
            await exchange.publish(aio_pika.Message(b"%d" % number), "k")
        got = []
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    got.append(int(message.body))
                if len(got) == 30:
                    break
        assert got == list(range(30))
        await queue.delete()
        await exchange.delete()


@asynchronous
async def an_unroutable_message_is_an_error():
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        try:
            await channel.default_exchange.publish(aio_pika.Message(b"x"), "aio.nowhere")
            raise AssertionError("it should have come back")
        except DeliveryError:
            pass


@asynchronous
async def reject_requeue_and_get():
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(b"m"), queue.name)
        message = await queue.get(timeout=5)
        await message.reject(requeue=True)
        message = await queue.get(timeout=5)
        assert message.redelivered
        await message.ack()
        assert await queue.get(fail=False) is None


@asynchronous
async def meets_404_and_406():
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        await channel.declare_queue("aio.args", durable=True)
        try:
            await channel.declare_queue("aio.args", durable=True, arguments={"x-max-length": 5})
            raise AssertionError("406 was expected")
        except ChannelPreconditionFailed as error:
            assert "inequivalent arg 'x-max-length'" in str(error), error
        channel = await connection.channel()
        try:
            await channel.get_queue("aio.missing", ensure=True)
            raise AssertionError("404 was expected")
        except ChannelNotFoundEntity:
            pass
        await (await connection.channel()).queue_delete("aio.args")


@asynchronous
async def a_transaction_is_committed():
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue(exclusive=True)
        async with channel.transaction():
            await channel.default_exchange.publish(aio_pika.Message(b"t"), queue.name)
        message = await queue.get(timeout=5)
        assert message.body == b"t"
        await message.ack()


run_all()
