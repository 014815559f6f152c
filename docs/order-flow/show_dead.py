"""Shows the orders in the dead-letter queue, and leaves them there.

Usage: python show_dead.py
"""

import topology

# What is shown is out of the queue for a moment, and in this program's memory.
SHOWN_MAX = 100


def main() -> None:
    with topology.connect() as connection:
        channel = connection.channel()
        topology.declare(channel)
        count = channel.queue_declare(topology.DEAD_QUEUE, passive=True).method.message_count
        print(f"{count} dead orders")
        last_tag = None
        for _ in range(min(count, SHOWN_MAX)):
            method, properties, body = channel.basic_get(topology.DEAD_QUEUE)
            if method is None:  # a replay took it in the meantime
                break
            last_tag = method.delivery_tag
            death = topology.first_death(properties)
            replays = properties.headers.get(topology.REPLAYED_HEADER, 0)
            print(f"{properties.message_id} {body.decode(errors='replace')}")
            print(f"  died in {death['queue']} at {death['time']}: {death['reason']}")
            keys = ", ".join(death["routing-keys"])
            print(f"  came by exchange {death['exchange']!r}, key {keys!r}; replays: {replays}")
        if last_tag is not None:
            # Each goes back to its old place. If this line is never reached, the broker does the
            # same when the connection ends.
            channel.basic_nack(last_tag, multiple=True, requeue=True)


if __name__ == "__main__":
    main()
