# Bunny: the Ruby client.
require 'bunny'

def check(condition, message = 'the condition does not hold')
  raise message unless condition
end

def wait_until(seconds = 10)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
  until (answer = yield)
    raise 'it did not come true in time' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.01
  end
  answer
end

SCENARIOS = {
  'publishes with confirms and subscribes with acks' => lambda do |connection|
    channel = connection.create_channel
    channel.confirm_select
    channel.prefetch(5)
    queue = channel.queue('bunny.queue', durable: true)
    30.times { |n| queue.publish(n.to_s, persistent: true) }
    check channel.wait_for_confirms
    got = Queue.new
    consumer = queue.subscribe(manual_ack: true) do |delivery, _, body|
      channel.ack(delivery.delivery_tag)
      got << body.to_i
    end
    wait_until { got.size == 30 }
    check Array.new(30) { got.pop } == (0...30).to_a
    consumer.cancel
    queue.delete
  end,
  'topic and headers exchanges route' => lambda do |connection|
    channel = connection.create_channel
    topic = channel.topic('bunny.topic', auto_delete: true)
    headers = channel.headers('bunny.headers', auto_delete: true)
    queue = channel.queue('', exclusive: true)
    queue.bind(topic, routing_key: 'job.*').bind(headers, arguments: { 'x-match' => 'any', 'a' => 1, 'b' => 2 })
    topic.publish('t', routing_key: 'job.new').publish('no', routing_key: 'job')
    headers.publish('h', headers: { 'b' => 2 }).publish('no', headers: { 'b' => 3 })
    wait_until { queue.message_count == 2 }
    check queue.pop.last == 't'
    check queue.pop.last == 'h'
  end,
  'a rejected message is dead-lettered, a requeued one redelivered' => lambda do |connection|
    channel = connection.create_channel
    dlx = channel.fanout('bunny.dlx', auto_delete: true)
    dead = channel.queue('', exclusive: true).bind(dlx)
    queue = channel.queue('', exclusive: true, arguments: { 'x-dead-letter-exchange' => 'bunny.dlx' })
    queue.publish('m')
    wait_until { queue.message_count == 1 }
    delivery, = queue.pop(manual_ack: true)
    channel.nack(delivery.delivery_tag, false, true)
    wait_until { queue.message_count == 1 }
    delivery, = queue.pop(manual_ack: true)
    check delivery.redelivered?
    channel.reject(delivery.delivery_tag)
    wait_until { dead.message_count == 1 }
    _, properties, body = dead.pop
    check body == 'm'
    check properties.headers['x-death'][0]['queue'] == queue.name
  end,
  'an unroutable mandatory message is returned' => lambda do |connection|
    channel = connection.create_channel
    exchange = channel.direct('bunny.direct', auto_delete: true)
    returned = Queue.new
    exchange.on_return { |info, _, body| returned << [info.reply_code, body] }
    exchange.publish('x', routing_key: 'nowhere', mandatory: true)
    check wait_until { returned.size == 1 && returned.pop } == [312, 'x']
    exchange.delete
  end,
  'what has a higher priority comes first' => lambda do |connection|
    channel = connection.create_channel
    queue = channel.queue('', exclusive: true, arguments: { 'x-max-priority' => 5 })
    [1, 5, 3, 5, 0].each_with_index { |priority, n| queue.publish(n.to_s, priority: priority) }
    wait_until { queue.message_count == 5 }
    check Array.new(5) { queue.pop.last } == %w[1 3 2 0 4]
  end,
  'a full queue refuses what is published with a nack' => lambda do |connection|
    channel = connection.create_channel
    channel.confirm_select
    arguments = { 'x-max-length' => 2, 'x-overflow' => 'reject-publish' }
    queue = channel.queue('', exclusive: true, arguments: arguments)
    2.times { |n| queue.publish(n.to_s) }
    check channel.wait_for_confirms
    queue.publish('2')
    check !channel.wait_for_confirms
    check channel.nacked_set.to_a == [3]
    check Array.new(3) { queue.pop.last } == ['0', '1', nil]
    queue.publish('3')
    channel.wait_for_confirms
    check queue.pop.last == '3'
  end,
  'meets 404 and 406' => lambda do |connection|
    channel = connection.create_channel
    begin
      channel.queue_declare('bunny.missing', passive: true)
      raise 'a 404 was expected'
    rescue Bunny::NotFound => error
      check error.message.include?("no queue 'bunny.missing' in vhost '/'"), error.message
    end
    channel = connection.create_channel
    queue = channel.queue('bunny.args', durable: true)
    begin
      connection.create_channel.queue('bunny.args', durable: false)
      raise 'a 406 was expected'
    rescue Bunny::PreconditionFailed => error
      check error.message.include?("inequivalent arg 'durable'"), error.message
    end
    queue.delete
  end,
  'a transaction is rolled back and committed' => lambda do |connection|
    channel = connection.create_channel
    queue = channel.queue('', exclusive: true)
    channel.tx_select
    queue.publish('no')
    channel.tx_rollback
    queue.publish('yes')
    channel.tx_commit
    check queue.message_count == 1
    check queue.pop.last == 'yes'
  end
}.freeze

failed = false
SCENARIOS.each do |name, scenario|
  connection = Bunny.new(ENV.fetch('AMQP_URL'), heartbeat: 5, logger: Logger.new(IO::NULL)).start
  scenario.call(connection)
  puts "ok #{name}"
rescue StandardError => error
  failed = true
  puts "not ok #{name}", error.full_message(highlight: false)
ensure
  connection&.close
end
exit(failed ? 1 : 0)
