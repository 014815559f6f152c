//! lapin: a Rust service's day, and the errors it meets.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use futures_lite::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const DEADLINE: Duration = Duration::from_secs(20);

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Result<Confirmation, lapin::Error> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?.await
}

async fn exclusive(channel: &Channel, arguments: FieldTable) -> Result<String, lapin::Error> {
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), options, arguments).await?;
    Ok(queue.name().to_string())
}

async fn get(channel: &Channel, queue: &str) -> Result<lapin::message::BasicGetMessage, lapin::Error> {
    loop {
        if let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
            return Ok(message);
        }
    }
}

async fn confirms_and_consumes_in_order(connection: &Connection) -> Outcome {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    channel.basic_qos(10, BasicQosOptions::default()).await?;
    let queue = exclusive(&channel, FieldTable::default()).await?;
    for number in 0..100u8 {
        let confirmed = publish(&channel, "", &queue, &[number]).await?;
        assert!(matches!(confirmed, Confirmation::Ack(None)), "{confirmed:?}");
    }
    let mut consumer = consume(&channel, &queue, "c").await?;
    for number in 0..100u8 {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        assert_eq!(delivery.data, [number]);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    channel.basic_cancel("c".into(), BasicCancelOptions::default()).await?;
    Ok(())
}

async fn an_unroutable_mandatory_message_comes_back(connection: &Connection) -> Outcome {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let confirmed = publish(&channel, "", "lapin.nowhere", b"back").await?;
    assert!(matches!(confirmed, Confirmation::Ack(Some(_))), "{confirmed:?}");
    Ok(())
}

async fn topics_route(connection: &Connection) -> Outcome {
    let channel = connection.create_channel().await?;
    let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    channel.exchange_declare("lapin.topic".into(), ExchangeKind::Topic, options, FieldTable::default()).await?;
    let queue = exclusive(&channel, FieldTable::default()).await?;
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.as_str().into(), "lapin.topic".into(), "a.*".into(), bind, none).await?;
    publish(&channel, "lapin.topic", "b.b", b"no").await?;
    publish(&channel, "lapin.topic", "a.b", b"yes").await?;
    assert_eq!(get(&channel, &queue).await?.data, b"yes");
    Ok(())
}

async fn reject_requeues_and_dead_letters(connection: &Connection) -> Outcome {
    let channel = connection.create_channel().await?;
    let dead = exclusive(&channel, FieldTable::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    let key = AMQPValue::LongString(dead.as_str().into());
    arguments.insert("x-dead-letter-routing-key".into(), key);
    let queue = exclusive(&channel, arguments).await?;
    publish(&channel, "", &queue, b"m").await?;
    get(&channel, &queue).await?.reject(BasicRejectOptions { requeue: true }).await?;
    let again = get(&channel, &queue).await?;
    assert!(again.redelivered);
    again.reject(BasicRejectOptions { requeue: false }).await?;
    let found = get(&channel, &dead).await?;
    let headers = found.properties.headers().clone().ok_or("no headers")?;
    assert!(headers.inner().contains_key("x-death"));
    Ok(())
}

async fn consume(channel: &Channel, queue: &str, tag: &str) -> Result<lapin::Consumer, lapin::Error> {
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.into(), tag.into(), options, none).await
}

async fn one_of_two_consumers_is_active_until_it_goes(connection: &Connection) -> Outcome {
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    let queue = exclusive(&channel, arguments).await?;
    let mut active = consume(&channel, &queue, "active").await?;
    let mut waiting = consume(&channel, &queue, "waiting").await?;
    for number in 0..10u8 {
        publish(&channel, "", &queue, &[number]).await?;
    }
    for number in 0..10u8 {
        let delivery = active.next().await.ok_or("the consumer ended")??;
        assert_eq!(delivery.data, [number]);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    channel.basic_cancel("active".into(), BasicCancelOptions::default()).await?;
    publish(&channel, "", &queue, b"next").await?;
    assert_eq!(waiting.next().await.ok_or("the consumer ended")??.data, b"next");
    Ok(())
}

async fn meets_404_and_406(connection: &Connection) -> Outcome {
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let channel = connection.create_channel().await?;
    let missing = channel.queue_declare("lapin.missing".into(), passive, FieldTable::default()).await;
    let error = missing.err().ok_or("a 404 was expected")?.to_string();
    assert!(error.contains("no queue 'lapin.missing' in vhost '/'"), "{error}");
    let channel = connection.create_channel().await?;
    let queue = exclusive(&channel, FieldTable::default()).await?;
    let (auto_delete, exclusive) = (true, true);
    let other = QueueDeclareOptions { auto_delete, exclusive, ..Default::default() };
    let differing = channel.queue_declare(queue.as_str().into(), other, FieldTable::default()).await;
    let error = differing.err().ok_or("a 406 was expected")?.to_string();
    assert!(error.contains("inequivalent arg 'auto_delete'"), "{error}");
    Ok(())
}

async fn check(name: &str, scenario: impl AsyncFnOnce(&Connection) -> Outcome) -> bool {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL names the broker");
    let run = async {
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        scenario(&connection).await?;
        // The scenario's channels are still closing themselves: the connection may say so.
        connection.close(200, "".into()).await.ok();
        Outcome::Ok(())
    };
    let outcome: Outcome = match timeout(run).await {
        Some(outcome) => outcome,
        None => Err("it took too long".into()),
    };
    match outcome {
        Ok(()) => println!("ok {name}"),
        Err(error) => {
            println!("not ok {name}: {error}");
            return false;
        }
    }
    true
}

async fn timeout<T>(run: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(DEADLINE, run).await.ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    let good = [
        check("confirms and consumes in order", confirms_and_consumes_in_order).await,
        check("an unroutable mandatory message comes back", an_unroutable_mandatory_message_comes_back).await,
        check("topics route", topics_route).await,
        check("reject requeues and dead-letters", reject_requeues_and_dead_letters).await,
        check("one of two consumers is active until it goes", one_of_two_consumers_is_active_until_it_goes).await,
        check("meets 404 and 406", meets_404_and_406).await,
    ];
    if good.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
