//! Every id, field, type, property and constant agrees with the XML files of the protocol, which
//! Debian has in its package `amqp-specs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use roxmltree::{Document, Node};

use super::spec::{self, Spec};

const SPECIFICATIONS: [&str; 2] = [
    "/usr/share/amqp/specs/0-9-1/amqp0-9-1.stripped.xml",
    "/usr/share/amqp/specs/0-9-1-rabbit/amqp0-9-1.stripped.extended.xml",
];

/// Of 0-9, for the class that 0-9-1 left out.
const SPECIFICATION_0_9: &str = "/usr/share/amqp/specs/0-9/amqp0-9.stripped.xml";

/// In no XML file of the package: RabbitMQ's later extensions, and one reply code of the text.
const BEYOND: [&str; 5] = [
    "method connection.blocked 10.60",
    "method connection.unblocked 10.61",
    "method connection.update-secret 10.70",
    "method connection.update-secret-ok 10.71",
    "constant no-route 312 soft",
];

/// Facts in a form in which two sources can be compared.
type Facts = BTreeSet<String>;

fn facts_of(spec: &Spec) -> Facts {
    let mut facts = Facts::new();
    for constant in &spec.constants {
        let error = constant.error.as_deref().unwrap_or("none");
        facts.insert(format!("constant {} {} {error}", constant.name, constant.value));
    }
    for class in &spec.classes {
        for (index, property) in class.properties.iter().enumerate() {
            facts.insert(format!(
                "property {} {index} {} {}",
                class.name, property.name, property.kind
            ));
        }
        for method in &class.methods {
            let name = format!("{}.{}", class.name, method.name);
            facts.insert(format!("method {name} {}.{}", class.id, method.id));
            facts.insert(format!("sender {name} {}", method.sender));
            if method.content {
                facts.insert(format!("content {name}"));
            }
            for (index, field) in method.fields().iter().enumerate() {
                let reserved = if field.reserved { " reserved" } else { "" };
                facts.insert(format!(
                    "field {name} {index} {} {}{reserved}",
                    field.name, field.kind
                ));
            }
        }
    }
    facts
}

fn children<'a>(node: Node<'a, 'a>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.has_tag_name(tag))
}

fn attribute<'a>(node: Node<'a, 'a>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_else(|| panic!("an element without {name}: {node:?}"))
}

/// The XML says which sides must understand a method: the other one sends it.
fn sender(method: Node<'_, '_>) -> &'static str {
    let receivers: Vec<&str> =
        children(method, "chassis").map(|chassis| attribute(chassis, "name")).collect();
    match receivers[..] {
        ["server"] => "client",
        ["client"] => "server",
        ["client", "server"] | ["server", "client"] => "both",
        _ => panic!("nobody receives {method:?}"),
    }
}

fn facts_of_xml(path: &str, only_class: Option<&str>) -> Facts {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        panic!("{path}: {error}. Install Debian's package amqp-specs (apt-get install amqp-specs)")
    });
    let document = Document::parse(&text).expect("well-formed XML");
    let root = document.root_element();
    let domains: BTreeMap<&str, &str> = children(root, "domain")
        .map(|domain| (attribute(domain, "name"), attribute(domain, "type")))
        .collect();
    let kind = |field: Node<'_, '_>| -> String {
        let name = field.attribute("domain").or(field.attribute("type")).expect("a typed field");
        domains.get(name).copied().unwrap_or(name).to_owned()
    };
    let mut facts = Facts::new();
    for constant in children(root, "constant").filter(|_| only_class.is_none()) {
        let error = constant.attribute("class").and_then(|class| class.split('-').next());
        let (name, value) = (attribute(constant, "name"), attribute(constant, "value"));
        facts.insert(format!("constant {name} {value} {}", error.unwrap_or("none")));
    }
    for class in children(root, "class") {
        let class_name = attribute(class, "name");
        if only_class.is_some_and(|only| only != class_name) {
            continue;
        }
        for (index, property) in children(class, "field").enumerate() {
            let name = attribute(property, "name");
            facts.insert(format!("property {class_name} {index} {name} {}", kind(property)));
        }
        for method in children(class, "method") {
            let name = format!("{class_name}.{}", attribute(method, "name"));
            let (class_id, id) = (attribute(class, "index"), attribute(method, "index"));
            facts.insert(format!("method {name} {class_id}.{id}"));
            facts.insert(format!("sender {name} {}", sender(method)));
            if method.attribute("content") == Some("1") {
                facts.insert(format!("content {name}"));
            }
            for (index, field) in children(method, "field").enumerate() {
                let reserved = if field.has_attribute("reserved") { " reserved" } else { "" };
                let field_name = attribute(field, "name");
                facts
                    .insert(format!("field {name} {index} {field_name} {}{reserved}", kind(field)));
            }
        }
    }
    facts
}

/// The extended file un-reserves two fields and lets both sides send three methods: where it
/// differs from the plain one, it counts.
fn known_facts() -> Facts {
    let [plain, extended] = SPECIFICATIONS.map(|path| facts_of_xml(path, None));
    let extended_since = [
        "field exchange.declare 5 reserved-2 bit reserved",
        "field exchange.declare 6 reserved-3 bit reserved",
        "sender basic.ack client",
        "sender basic.cancel client",
        "sender basic.cancel-ok server",
    ];
    let plain_only: Vec<&String> = plain.difference(&extended).collect();
    assert_eq!(plain_only, extended_since, "the two files disagree in more than is known");
    let access = facts_of_xml(SPECIFICATION_0_9, Some("access"));
    extended.into_iter().chain(access).collect()
}

#[test]
fn the_specification_agrees_with_the_published_one() {
    if std::env::var_os("FERRYMQ_WITHOUT_AMQP_SPECS").is_some_and(|value| value == "1") {
        // Not by eprintln!, whose words are kept back when a test passes.
        writeln!(std::io::stderr(), "LEFT OUT: the comparison with amqp-specs").expect("stderr");
        return;
    }
    let known = known_facts();
    let ours = facts_of(&spec::load());
    let missing: Vec<&String> = known.difference(&ours).collect();
    assert!(missing.is_empty(), "published but not in protocol-spec/: {missing:#?}");
    let beyond: Vec<&String> =
        ours.difference(&known).filter(|fact| !is_known_to_be_beyond(fact)).collect();
    assert!(beyond.is_empty(), "in protocol-spec/ but not published: {beyond:#?}");
}

fn is_known_to_be_beyond(fact: &str) -> bool {
    let subject = |fact: &str| fact.split(' ').nth(1).map(str::to_owned);
    BEYOND.iter().any(|known| {
        *known == fact || (known.starts_with("method ") && subject(known) == subject(fact))
    })
}
