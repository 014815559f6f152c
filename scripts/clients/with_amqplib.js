// amqplib: a Node service's day, and the errors it meets.
'use strict';
const assert = require('node:assert');
const amqp = require('amqplib');

const url = process.env.AMQP_URL;
const scenarios = {
  async 'publishes with confirms, consumes in order and hears of the end of its queue'(connection) {
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('node.queue', { durable: true });
    for (let n = 0; n < 100; n++) channel.sendToQueue('node.queue', Buffer.from(String(n)), { persistent: true });
    await channel.waitForConfirms();
    await channel.prefetch(10);
    const got = [];
    let cancelled;
    const told = new Promise((resolve) => { cancelled = resolve; });
    await new Promise((resolve) => channel.consume('node.queue', (message) => {
      if (message === null) return cancelled();
      got.push(Number(message.content));
      channel.ack(message);
      if (got.length === 100) resolve();
    }));
    assert.deepStrictEqual(got, [...Array(100).keys()]);
    await channel.deleteQueue('node.queue');
    await told;
  },

  async 'binds with topic and headers exchanges and between exchanges'(connection) {
    const channel = await connection.createChannel();
    await channel.assertExchange('node.source', 'fanout');
    await channel.assertExchange('node.topic', 'topic', { autoDelete: true });
    await channel.bindExchange('node.topic', 'node.source', '');
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, 'node.topic', '*.created');
    channel.publish('node.source', 'user.created', Buffer.from('a'));
    channel.publish('node.source', 'user.deleted', Buffer.from('b'));
    await channel.checkQueue(queue);
    const message = await channel.get(queue, { noAck: true });
    assert.strictEqual(message.content.toString(), 'a');
    assert.strictEqual(await channel.get(queue), false);
    await channel.unbindQueue(queue, 'node.topic', '*.created');
    await channel.deleteExchange('node.source');
  },

  async 'a mandatory message without a queue is returned before it is confirmed'(connection) {
    const channel = await connection.createConfirmChannel();
    const events = [];
    channel.on('return', (message) => events.push(`return ${message.fields.replyCode}`));
    await new Promise((resolve) => channel.publish('', 'node.nowhere', Buffer.from('x'), { mandatory: true }, () => {
      events.push('confirm');
      resolve();
    }));
    assert.deepStrictEqual(events, ['return 312', 'confirm']);
  },

  async 'nack with requeue redelivers and reject dead-letters'(connection) {
    const channel = await connection.createChannel();
    await channel.assertExchange('node.dlx', 'fanout');
    const dead = (await channel.assertQueue('', { exclusive: true })).queue;
    await channel.bindQueue(dead, 'node.dlx', '');
    const { queue } = await channel.assertQueue('', { exclusive: true, deadLetterExchange: 'node.dlx' });
    channel.sendToQueue(queue, Buffer.from('m'), { headers: { keep: 'me' } });
    await channel.checkQueue(queue);
    channel.nack(await channel.get(queue));
    const again = await channel.get(queue);
    assert.strictEqual(again.fields.redelivered, true);
    channel.reject(again, false);
    await channel.checkQueue(dead);
    const found = await channel.get(dead, { noAck: true });
    assert.strictEqual(found.properties.headers.keep, 'me');
    assert.strictEqual(found.properties.headers['x-death'][0].reason, 'rejected');
    assert.strictEqual(found.properties.headers['x-first-death-queue'], queue);
    await channel.deleteExchange('node.dlx');
  },

  async 'a delaying exchange delivers each message when its delay is over'(connection) {
    const channel = await connection.createChannel();
    const arguments_ = { 'x-delayed-type': 'direct' };
    await channel.assertExchange('node.delayed', 'x-delayed-message', { arguments: arguments_ });
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, 'node.delayed', 'key');
    const begin = Date.now();
    for (const delay of [400, 100, 0]) {
      channel.publish('node.delayed', 'key', Buffer.from(String(delay)), { headers: { 'x-delay': delay } });
    }
    const got = [];
    await new Promise((resolve) => channel.consume(queue, (message) => {
      const [delay, waited] = [Number(message.content), Date.now() - begin];
      if (got.push({ delay, waited, header: message.properties.headers['x-delay'] }) === 3) resolve();
    }, { noAck: true }));
    assert.deepStrictEqual(got.map(({ delay }) => delay), [0, 100, 400]);
    assert.ok(got.every(({ delay, waited }) => waited >= delay), JSON.stringify(got));
    assert.deepStrictEqual(got.map(({ header }) => Math.abs(header)), [0, 100, 400]);
    await channel.deleteExchange('node.delayed');
  },

  async 'meets 404 and 406 on a channel while the connection goes on'(connection) {
    const failing = async (operation) => {
      const channel = await connection.createChannel();
      const closed = new Promise((resolve) => channel.on('error', resolve));
      await assert.rejects(operation(channel));
      return (await closed).message;
    };
    const missing = await failing((channel) => channel.checkQueue('node.missing'));
    assert.match(missing, /404 \(NOT-FOUND\).*no queue 'node.missing' in vhost '\/'/);
    const channel = await connection.createChannel();
    await channel.assertQueue('node.args', { durable: true });
    const other = await failing((ch) => ch.assertQueue('node.args', { durable: true, maxLength: 7 }));
    assert.match(other, /406.*inequivalent arg 'x-max-length'.*the value '7' of type .* but current is none/);
    await channel.deleteQueue('node.args');
  },

  async 'purge says how many and recover brings back what is out'(connection) {
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    for (let n = 0; n < 5; n++) channel.sendToQueue(queue, Buffer.from(String(n)));
    await channel.checkQueue(queue);
    await channel.get(queue);
    await channel.recover();
    assert.strictEqual((await channel.get(queue)).fields.redelivered, true);
    assert.strictEqual((await channel.purgeQueue(queue)).messageCount, 4);
  },
};

(async () => {
  let failed = false;
  for (const [name, scenario] of Object.entries(scenarios)) {
    const connection = await amqp.connect(url, { heartbeat: 5 });
    connection.on('error', () => {});
    try {
      await scenario(connection);
      await connection.close();
      console.log(`ok ${name}`);
    } catch (error) {
      failed = true;
      console.log(`not ok ${name}\n${error.stack}`);
      connection.close().catch(() => {});
    }
  }
  process.exit(failed ? 1 : 0);
})();
